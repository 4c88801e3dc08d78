"""Agreement of a result with its input: the LR frame and its colour."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import decibels, to_levels
from sdvsr_jax.ops.resize import downsample_bicubic
from sdvsr_jax.types import Array, Float


def lr_consistency(
    sr: Float[ArrayLike, "b H W 3"], lr: Float[ArrayLike, "b h w 3"], scale: int = 4
) -> Float[Array, " b"]:
    """Returns the PSNR (RGB, dB, peak 255) of the reduced SR frame against LR.

    Frames in [-1, 1], both rounded to 8 bit here; the SR frame is reduced as LR is
    made. The rounding of a perfect LR frame alone leaves about 59 dB.
    """
    reduced = downsample_bicubic(to_levels(sr), scale)
    difference = reduced - to_levels(lr)
    squares = jnp.square(difference)
    mean = squares.mean((1, 2, 3))
    return decibels(mean)


def colour_shift(
    x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Returns the largest difference of the mean R, G or B, in levels of 255, of images
    in [-1, 1].
    """
    # of levels: a shift below half a level is none in the file
    difference = to_levels(x) - to_levels(y)
    per_colour = difference.mean((1, 2))
    shift = jnp.abs(per_colour)
    return shift.max(-1)
