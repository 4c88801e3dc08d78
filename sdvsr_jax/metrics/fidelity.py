"""PSNR-Y and SSIM-Y: closeness to the truth on the 8-bit luma, border cropped."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import PEAK, decibels, luma, luma_difference
from sdvsr_jax.types import Array, Float

WINDOW = 11
SIGMA = 1.5
# Covariances do not change with the origin, and near zero their float32 differences
# keep more digits.
ORIGIN = 128
# Wang's constants: quotients of flat windows stay near 1.
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2


def psnr_y(
    x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"], border: int = 4
) -> Float[Array, " b"]:
    """Returns the peak signal-to-noise ratio, dB, peak 255; infinite for equal images.

    Args:
      x, y: images in [-1, 1], rounded to 8 bit here.
      border: pixels left out at every edge; the field crops `scale`.
    """
    # levels are whole numbers: those of equal images differ by exactly 0, two lumas by
    # the rounding of two sums
    x = _cropped(x, border)
    y = _cropped(y, border)
    difference = luma_difference(x, y)
    squares = jnp.square(difference)
    mean = squares.mean((1, 2))
    return decibels(mean)


def ssim_y(
    x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"], border: int = 4
) -> Float[Array, " b"]:
    """Returns the structural similarity (Wang et al. 2004), 1 for equal images.

    Gaussian window of 11x11, sigma 1.5, only where it fits inside. Arguments as those
    of `psnr_y`.
    """
    x = _cropped(x, border)
    x = luma(x) - ORIGIN
    y = _cropped(y, border)
    y = luma(y) - ORIGIN
    _, height, width = x.shape
    if min(height, width) < WINDOW:
        raise ValueError(
            f"{height}x{width} pixels within the border, SSIM needs {WINDOW}x{WINDOW}"
        )
    mean_x = _blur(x)
    mean_y = _blur(y)
    # of a window: the mean of squares less the square of the mean
    var_x = _blur(x**2) - mean_x**2
    var_y = _blur(y**2) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y

    mean_x = mean_x + ORIGIN
    mean_y = mean_y + ORIGIN
    mean_product = 2 * mean_x * mean_y + C1
    mean_squares = mean_x**2 + mean_y**2 + C1
    luminance = mean_product / mean_squares
    doubled = 2 * covariance + C2
    variances = var_x + var_y + C2
    structure = doubled / variances
    similarity = luminance * structure
    return similarity.mean((1, 2))


def _cropped(
    image: Float[ArrayLike, "b H W 3"], border: int
) -> Float[Array, "b h w 3"]:
    _, height, width, _ = np.shape(image)
    if min(height, width) <= 2 * border:
        raise ValueError(
            f"image of {width}x{height} has nothing left inside a border of {border}"
        )
    bottom = height - border
    right = width - border
    rows = slice(border, bottom)
    columns = slice(border, right)
    pixels = jnp.asarray(image)
    return pixels[:, rows, columns]


def _blur(x: Float[Array, "b h w"]) -> Float[Array, "b h2 w2"]:
    distance = np.arange(WINDOW) - WINDOW // 2
    exponent = -0.5 * distance**2 / SIGMA**2
    weights = np.exp(exponent)
    shares = weights / weights.sum()
    taps = jnp.asarray(shares, jnp.float32)

    def blur_row(row: Float[Array, " n"]) -> Float[Array, " m"]:
        return jnp.convolve(row, taps, "valid", precision="highest")

    blur_rows = jax.vmap(jax.vmap(blur_row))
    columns = blur_rows(x).swapaxes(1, 2)
    blurred = blur_rows(columns)
    return blurred.swapaxes(1, 2)
