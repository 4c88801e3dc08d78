"""What super-resolution must keep: the LR frame it came from, and its colour."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import to_levels
from sdvsr_jax.ops.resize import downsample_bicubic
from sdvsr_jax.types import Array, Float


def lr_consistency(
    sr: Float[ArrayLike, "b H W 3"], lr: Float[ArrayLike, "b h w 3"], scale: int = 4
) -> Float[Array, " b"]:
    """PSNR (RGB, dB, peak 255) of the 8-bit SR frame, downscaled as LR is made, against
    the 8-bit LR frame.

    The rounding of a perfect LR frame alone leaves about 59 dB.
    """
    error = jnp.square(downsample_bicubic(to_levels(sr), scale) - to_levels(lr)).mean(
        (1, 2, 3)
    )
    return 10 * jnp.log10(255**2 / error)


def colour_shift(
    x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Largest difference of the mean R, G or B of the two 8-bit frames, in levels of
    255.
    """
    return jnp.abs((to_levels(x) - to_levels(y)).mean((1, 2))).max(-1)
