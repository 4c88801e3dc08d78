"""NIQE, a no-reference naturalness score (Mittal et al. 2013); lower is better. numpy,
float64.

The luma is made locally mean-free and of unit contrast, blocks of 96x96 at two scales
are described by the shape of their value distribution (asymmetric generalised
Gaussians), and the score is the distance of these descriptions from those of pristine
photographs.
"""

import functools
import math
from pathlib import Path

import jax
import numpy as np
from jax.typing import ArrayLike
from safetensors.numpy import load_file

from sdvsr_jax.metrics.luma import luma
from sdvsr_jax.types import Float

BLOCK = 96
PRISTINE = Path(__file__).parent.parent / "weights" / "niqe_pristine.safetensors"
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours (rows, columns) whose products with the pixel are described."""


def niqe(image: Float[ArrayLike, "H W 3"]) -> float:
    """Score of one image [H, W, 3] in [-1, 1]; about 3 for a good photograph, 8 and
    more for a blurred one.

    Raises:
      ValueError: fewer than two whole blocks of 96x96.
    """
    gray = np.round(np.asarray(luma(image), np.float64))
    rows, columns = gray.shape[0] // BLOCK, gray.shape[1] // BLOCK
    if rows * columns < 2:
        raise ValueError(
            f"image of {gray.shape[1]}x{gray.shape[0]}: NIQE needs two blocks of "
            f"{BLOCK}x{BLOCK}"
        )
    gray = gray[: rows * BLOCK, : columns * BLOCK]
    pristine = _pristine()
    features = []
    for size in (BLOCK, BLOCK // 2):
        normal = _normalise(gray, pristine["gaussian_window"])
        blocks = (
            normal.reshape(rows, size, columns, size)
            .swapaxes(1, 2)
            .reshape(-1, size, size)
        )
        features.append(np.stack([_describe(block) for block in blocks]))
        gray = _half(gray)
    return _distance(np.concatenate(features, axis=1), pristine)


@functools.cache
def _pristine() -> dict[str, np.ndarray]:
    return load_file(PRISTINE)


def _distance(features: np.ndarray, pristine: dict[str, np.ndarray]) -> float:
    complete = features[~np.isnan(features).any(axis=1)]
    if len(complete) < 2:
        return math.nan  # a flat image has no texture to judge
    difference = pristine["mean"] - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv(
        (pristine["covariance"] + np.cov(complete, rowvar=False)) / 2
    )
    return float(np.sqrt(difference @ inverse @ difference))


def _normalise(gray: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(value - local mean) / (local deviation + 1)."""
    mean = _filter(gray, window)
    deviation = np.sqrt(np.abs(_filter(gray**2, window) - mean**2))
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
    padded = np.pad(gray, 8, mode="symmetric").astype(np.float32)
    small = jax.image.resize(
        padded, (padded.shape[0] // 2, padded.shape[1] // 2), "cubic", antialias=True
    )
    return np.asarray(small, np.float64)[4:-4, 4:-4]


def _describe(block: np.ndarray) -> list[float]:
    """18 numbers: shape and width of the values, then shape, mean and both widths of
    four neighbour products.
    """
    alpha, left, right = _fit(block)
    numbers = [alpha, (left + right) / 2]
    for shift in SHIFTS:
        alpha, left, right = _fit(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * math.gamma(2 / alpha) / math.gamma(1 / alpha)
        numbers += [alpha, mean, left, right]
    return numbers


def _fit(values: np.ndarray) -> tuple[float, float, float]:
    """Asymmetric generalised Gaussian by moment matching: shape, left and right width;
    NaN without both sides.
    """
    negative, positive = values[values < 0], values[values > 0]
    if not len(negative) or not len(positive):
        return 1.0, math.nan, math.nan
    left, right = np.sqrt(np.mean(negative**2)), np.sqrt(np.mean(positive**2))
    ratio = left / right
    moment = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    moment *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    alphas, moments = _moments()
    alpha = float(alphas[np.argmin((moments - moment) ** 2)])
    width = math.sqrt(math.gamma(1 / alpha) / math.gamma(3 / alpha))
    return alpha, float(left) * width, float(right) * width


@functools.cache
def _moments() -> tuple[np.ndarray, np.ndarray]:
    """Shapes 0.2, 0.201, ... 10 and the squared mean over the mean square that each
    implies.
    """
    alphas = np.arange(0.2, 10.001, 0.001)
    logs = np.array([[math.lgamma(k / a) for k in (1, 2, 3)] for a in alphas])
    return alphas, np.exp(2 * logs[:, 1] - logs[:, 0] - logs[:, 2])
