"""8-bit values and the studio luma on which the field measures fidelity."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from sdvsr_jax.types import Array, Float

PEAK = 255
HALF = PEAK / 2
"""Levels that one unit of an image in [-1, 1] is worth."""
# MATLAB's, rounded: the PSNR-Y of papers is computed with these.
BT601 = (65.481, 128.553, 24.966)
"""Weights of R, G and B in the luma, for RGB in [0, 1]."""
BLACK = 16
"""Luma of black in studio range."""


def to_levels(image: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Returns the levels of an 8-bit file, 0, 1, ... 255 as float32, of [-1, 1]."""
    image = jnp.asarray(image, jnp.float32)
    levels = image * HALF + HALF
    in_range = jnp.clip(levels, 0, PEAK)
    return jnp.round(in_range)


def luma(image: Float[ArrayLike, "*n 3"]) -> Float[Array, "*n"]:
    """Returns the BT.601 luma in studio range, 16..235, of the 8-bit RGB values of an
    image in [-1, 1].

    As MATLAB's rgb2ycbcr, but not rounded again.
    """
    weights = jnp.asarray(BT601)
    above_black = to_levels(image) @ weights / PEAK
    return BLACK + above_black


def luma_difference(
    x: Float[ArrayLike, "*n 3"], y: Float[ArrayLike, "*n 3"]
) -> Float[Array, "*n"]:
    """Returns the luma of x less that of y, images in [-1, 1]; exactly 0 where their
    levels are equal.
    """
    # levels first: of equal images the two lumas may differ by their rounding
    difference = to_levels(x) - to_levels(y)
    weights = jnp.asarray(BT601)
    return difference @ weights / PEAK


def decibels(error: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns the peak signal-to-noise ratio of a squared error in levels."""
    ratio = PEAK**2 / error
    return 10 * jnp.log10(ratio)
