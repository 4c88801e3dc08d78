"""PSNR-Y and SSIM-Y: closeness to the truth on the 8-bit luma, border cropped."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import luma
from sdvsr_jax.types import Array, Float

WINDOW = 11
SIGMA = 1.5


def psnr_y(
    x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"], border: int = 4
) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio in dB, peak 255; infinite for equal images.

    Args:
      x, y: images in [-1, 1], rounded to 8 bit here.
      border: pixels left out at every edge; the field crops `scale`.
    """
    error = jnp.square(_cropped(x, border) - _cropped(y, border)).mean((1, 2))
    return 10 * jnp.log10(255**2 / error)


def ssim_y(
    x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"], border: int = 4
) -> Float[Array, " b"]:
    """Structural similarity (Wang et al. 2004): Gaussian window 11x11, sigma 1.5, only
    where it fits inside.
    """
    # covariances do not change with the origin, and near zero their float32 differences
    # keep more digits
    x, y = _cropped(x, border) - 128, _cropped(y, border) - 128
    if min(x.shape[1:]) < WINDOW:
        raise ValueError(
            f"{x.shape[1]}x{x.shape[2]} pixels within the border, SSIM needs "
            f"{WINDOW}x{WINDOW}"
        )
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x**2) - mean_x**2, _blur(y**2) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = mean_x + 128, mean_y + 128
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean(
        (1, 2)
    )


def _cropped(image: Float[ArrayLike, "b H W 3"], border: int) -> Float[Array, "b h w"]:
    _, height, width, _ = np.shape(image)
    if min(height, width) <= 2 * border:
        raise ValueError(
            f"image of {width}x{height} has nothing left inside a border of {border}"
        )
    return luma(image)[:, border : height - border, border : width - border]


def _blur(x: Float[Array, "b h w"]) -> Float[Array, "b h2 w2"]:
    taps = np.exp(-0.5 * (np.arange(WINDOW) - WINDOW // 2) ** 2 / SIGMA**2)
    taps = jnp.asarray(taps / taps.sum(), jnp.float32)
    blur = jax.vmap(
        jax.vmap(lambda row: jnp.convolve(row, taps, "valid", precision="highest"))
    )
    return blur(blur(x).swapaxes(1, 2)).swapaxes(1, 2)
