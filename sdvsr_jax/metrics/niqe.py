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
    exact = np.asarray(luma(image), np.float64)
    gray = np.round(exact)
    height, width = gray.shape
    rows = height // BLOCK
    columns = width // BLOCK
    if rows * columns < 2:
        raise ValueError(
            f"image of {width}x{height}: NIQE needs two blocks of {BLOCK}x{BLOCK}"
        )
    bottom = rows * BLOCK
    right = columns * BLOCK
    gray = gray[:bottom, :right]
    pristine = _pristine()
    window = pristine["gaussian_window"]
    fine = _describe_blocks(gray, BLOCK, window)
    # the same blocks of the scene, at half the size
    half = _half(gray)
    coarse = _describe_blocks(half, BLOCK // 2, window)
    features = np.concatenate([fine, coarse], axis=1)
    return _distance(features, pristine)


def _describe_blocks(
    gray: Float[np.ndarray, "h w"], size: int, window: np.ndarray
) -> Float[np.ndarray, "blocks 18"]:
    normal = _normalise(gray, window)
    blocks = rearrange(normal, "(r y) (c x) -> (r c) y x", y=size, x=size)
    features = [_describe(block) for block in blocks]
    return np.stack(features)


@functools.cache
def _pristine() -> dict[str, np.ndarray]:
    return load_file(PRISTINE)


def _distance(
    features: Float[np.ndarray, "blocks 36"], pristine: dict[str, np.ndarray]
) -> float:
    is_blank = np.isnan(features).any(axis=1)
    complete = features[~is_blank]
    if len(complete) < 2:
        return math.nan  # a flat image has no texture to judge
    # means of all numbers there are, covariances of complete blocks only, as MATLAB's
    # nanmean and nancov take them
    mean = np.nanmean(features, axis=0)
    difference = pristine["mean"] - mean
    covariance = np.cov(complete, rowvar=False)
    covariances = pristine["covariance"] + covariance
    mean_covariance = covariances / 2
    inverse = np.linalg.pinv(mean_covariance)
    square = difference @ inverse @ difference
    return float(np.sqrt(square))


def _normalise(gray: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Returns (value - local mean) / (local deviation + 1)."""
    mean = _filter(gray, window)
    mean_square = _filter(gray**2, window)
    variance = mean_square - mean**2
    # rounding may make it negative
    deviation = np.sqrt(np.abs(variance))
    return (gray - mean) / (deviation + 1)


def _filter(gray: np.ndarray, window: np.ndarray) -> np.ndarray:
    radius = len(window) // 2
    padded = np.pad(gray, radius, mode="edge")
    height, width = gray.shape
    total = np.zeros_like(gray)
    for (row, column), weight in np.ndenumerate(window):
        rows = slice(row, row + height)
        columns = slice(column, column + width)
        total += weight * padded[rows, columns]
    return total


def _half(gray: np.ndarray) -> np.ndarray:
    """MATLAB's imresize by 1/2: antialiased bicubic, the image mirrored at edges."""
    # wider than the kernel's reach of 4, and even, so that pairs of pixels stay pairs
    margin = 8
    padded = np.pad(gray, margin, mode="symmetric")
    padded = padded.astype(np.float32)
    height, width = padded.shape
    size = (height // 2, width // 2)
    small = jax.image.resize(padded, size, "cubic", antialias=True)
    small = np.asarray(small).astype(np.float64)
    half_margin = margin // 2
    inner = slice(half_margin, -half_margin)
    return small[inner, inner]


def _describe(block: np.ndarray) -> list[float]:
    """Returns 18 numbers of a normalised block.

    Shape and width of the values, then shape, mean and both widths of four neighbour
    products.
    """
    alpha, left, right = _fit(block)
    width = (left + right) / 2
    numbers = [alpha, width]
    for shift in SHIFTS:
        neighbours = np.roll(block, shift, axis=(0, 1))
        alpha, left, right = _fit(block * neighbours)
        second = math.gamma(2 / alpha)
        first = math.gamma(1 / alpha)
        scale = second / first
        mean = (right - left) * scale
        numbers += [alpha, mean, left, right]
    return numbers


def _fit(values: np.ndarray) -> tuple[float, float, float]:
    """Fits an asymmetric generalised Gaussian by moment matching.

    Returns its shape, left and right width; the widths are NaN without both sides.
    """
    negative = values[values < 0]
    positive = values[values > 0]
    if not len(negative) or not len(positive):
        return 1.0, math.nan, math.nan
    left = _root_mean_square(negative)
    right = _root_mean_square(positive)
    ratio = left / right
    first_moment = np.mean(np.abs(values))
    second_moment = np.mean(values**2)
    moment = first_moment**2 / second_moment
    # of the skew: 1 where both sides are as wide
    cube = ratio**3
    numerator = (cube + 1) * (ratio + 1)
    denominator = (ratio**2 + 1) ** 2
    moment *= numerator / denominator
    # the shape has no formula: it is looked up by its moment
    alphas, moments = _moments()
    difference = moments - moment
    error = difference**2
    nearest = np.argmin(error)
    alpha = float(alphas[nearest])
    first = math.gamma(1 / alpha)
    third = math.gamma(3 / alpha)
    quotient = first / third
    width = math.sqrt(quotient)
    left_width = float(left) * width
    right_width = float(right) * width
    return alpha, left_width, right_width


def _root_mean_square(values: np.ndarray) -> np.floating:
    mean = np.mean(values**2)
    return np.sqrt(mean)


@functools.cache
def _moments() -> tuple[np.ndarray, np.ndarray]:
    """Returns shapes 0.2, 0.201, ... 10 and the squared mean over the mean square.

    The second is implied by the first for a generalised Gaussian.
    """
    alphas = np.arange(0.2, 10.001, 0.001)
    first = _log_gamma(1 / alphas)
    second = _log_gamma(2 / alphas)
    third = _log_gamma(3 / alphas)
    log_moments = 2 * second - first - third
    return alphas, np.exp(log_moments)


def _log_gamma(values: np.ndarray) -> np.ndarray:
    logarithms = [math.lgamma(value) for value in values]
    return np.array(logarithms)
