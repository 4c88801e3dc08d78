"""The fixed pattern that an upscaler leaves in every cell of scale x scale pixels."""

import jax.numpy as jnp
from einops import rearrange
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import to_levels
from sdvsr_jax.types import Array, Float


def phase_pattern(
    sr: Float[ArrayLike, "b H W 3"],
    base: Float[ArrayLike, "b H W 3"],
    scale: int = 4,
    limit: float | None = None,
) -> Float[Array, " b"]:
    """Returns the standard deviation of the phase means of `sr - base`, in levels.

    A phase is the set of pixels at one position of all cells of scale x scale;
    means are over the phase and over R, G and B of the 8-bit frames. 0 for frames
    without a pattern, up to the noise of the means.

    Args:
      sr, base: frames in [-1, 1], rounded to 8 bit here; base is the bicubic frame or
        the truth.
      scale: side of a cell, pixels.
      limit: levels at which differences are cut off: edges and texture, which are far
        from bicubic and have no phase, then leave less noise. None: not at all.
    """
    difference = to_levels(sr) - to_levels(base)
    if limit is not None:
        difference = jnp.clip(difference, -limit, limit)
    cells = rearrange(
        difference,
        "b (h y) (w x) c -> b (y x) (h w c)",
        y=scale,
        x=scale,
    )
    # R, G and B together: a grid comes from sub-pixel layers that feed all three alike
    phase_means = cells.mean(-1)
    return jnp.std(phase_means, axis=1)
