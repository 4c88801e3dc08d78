"""NIQE, a no-reference naturalness score (Mittal et al. 2013); lower is better.

In numpy and float64. The luma is made locally mean-free and of unit contrast, blocks of
96x96 at two scales are described by the shape of their value distribution (asymmetric
generalised Gaussians), and the score is the distance of these descriptions from those
of pristine photographs.
"""

import functools
import math
from pathlib import Path

import jax
import numpy as np
from einops import rearrange
from jax.typing import ArrayLike
from safetensors.numpy import load_file

from sdvsr_jax.metrics.luma import luma
from sdvsr_jax.types import Float

BLOCK = 96
PRISTINE = Path(__file__).parent.parent / "weights" / "niqe_pristine.safetensors"
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours (rows, columns) whose products with the pixel are described."""


def niqe(image: Float[ArrayLike, "H W 3"]) -> float:
    """Returns the score of one image in [-1, 1]; NaN for a flat one.

    About 3 for a good photograph, 8 and more for a blurred one.

    Raises:
      ValueError: fewer than two whole blocks of 96x96.
    """
    # the pristine model was fitted on rounded luma
    gray = np.round(np.asarray(luma(image), np.float64))
    height, width = gray.shape
    rows = height // BLOCK
    columns = width // BLOCK
    if rows * columns < 2:
        raise ValueError(
            f"image of {width}x{height}: NIQE needs two blocks of {BLOCK}x{BLOCK}"
        )
    gray = gray[: rows * BLOCK, : columns * BLOCK]
    pristine = _pristine()
    window = pristine["gaussian_window"]
    fine = _describe_blocks(gray, BLOCK, window)
    coarse = _describe_blocks(_half(gray), BLOCK // 2, window)
    return _distance(np.concatenate([fine, coarse], axis=1), pristine)


def _describe_blocks(
    gray: Float[np.ndarray, "h w"], size: int, window: np.ndarray
) -> Float[np.ndarray, "blocks 18"]:
    normal = _normalise(gray, window)
    blocks = rearrange(normal, "(r y) (c x) -> (r c) y x", y=size, x=size)
    return np.stack([_describe(block) for block in blocks])


@functools.cache
def _pristine() -> dict[str, np.ndarray]:
    return load_file(PRISTINE)


def _distance(
    features: Float[np.ndarray, "blocks 36"], pristine: dict[str, np.ndarray]
) -> float:
    is_complete = ~np.isnan(features).any(axis=1)
    complete = features[is_complete]
    if len(complete) < 2:
        return math.nan  # a flat image has no texture to judge
    difference = pristine["mean"] - np.nanmean(features, axis=0)
    covariance = np.cov(complete, rowvar=False)
    inverse = np.linalg.pinv((pristine["covariance"] + covariance) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def _normalise(gray: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Returns (value - local mean) / (local deviation + 1)."""
    mean = _filter(gray, window)
    variance = _filter(gray**2, window) - mean**2
    deviation = np.sqrt(np.abs(variance))
    return (gray - mean) / (deviation + 1)


def _filter(gray: np.ndarray, window: np.ndarray) -> np.ndarray:
    radius = len(window) // 2
    padded = np.pad(gray, radius, mode="edge")
    height, width = gray.shape
    total = np.zeros_like(gray)
    for (row, column), weight in np.ndenumerate(window):
        total += weight * padded[row : row + height, column : column + width]
    return total


def _half(gray: np.ndarray) -> np.ndarray:
    """MATLAB's imresize by 1/2: antialiased bicubic, the image mirrored at edges."""
    # wider than the kernel's reach of 4, and even, so that pairs of pixels stay pairs
    margin = 8
    padded = np.pad(gray, margin, mode="symmetric").astype(np.float32)
    height, width = padded.shape
    size = (height // 2, width // 2)
    small = np.asarray(jax.image.resize(padded, size, "cubic", antialias=True))
    half_margin = margin // 2
    inner = slice(half_margin, -half_margin)
    return small.astype(np.float64)[inner, inner]


def _describe(block: np.ndarray) -> list[float]:
    """Returns 18 numbers of a normalised block.

    Shape and width of the values, then shape, mean and both widths of four neighbour
    products.
    """
    alpha, left, right = _fit(block)
    numbers = [alpha, (left + right) / 2]
    for shift in SHIFTS:
        neighbours = np.roll(block, shift, axis=(0, 1))
        alpha, left, right = _fit(block * neighbours)
        scale = math.gamma(2 / alpha) / math.gamma(1 / alpha)
        numbers += [alpha, (right - left) * scale, left, right]
    return numbers


def _fit(values: np.ndarray) -> tuple[float, float, float]:
    """Fits an asymmetric generalised Gaussian by moment matching.

    Returns its shape, left and right width; the widths are NaN without both sides.
    """
    negative = values[values < 0]
    positive = values[values > 0]
    if not len(negative) or not len(positive):
        return 1.0, math.nan, math.nan
    left = np.sqrt(np.mean(negative**2))
    right = np.sqrt(np.mean(positive**2))
    ratio = left / right
    moment = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    moment *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    alphas, moments = _moments()
    nearest = np.argmin((moments - moment) ** 2)
    alpha = float(alphas[nearest])
    width = math.sqrt(math.gamma(1 / alpha) / math.gamma(3 / alpha))
    return alpha, float(left) * width, float(right) * width


@functools.cache
def _moments() -> tuple[np.ndarray, np.ndarray]:
    """Returns shapes 0.2, 0.201, ... 10 and the squared mean over the mean square.

    The second is implied by the first for a generalised Gaussian.
    """
    alphas = np.arange(0.2, 10.001, 0.001)
    first, second, third = (
        np.array([math.lgamma(order / alpha) for alpha in alphas])
        for order in (1, 2, 3)
    )
    return alphas, np.exp(2 * second - first - third)
