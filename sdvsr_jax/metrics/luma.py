"""8-bit values and the studio luma on which the field measures fidelity."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from sdvsr_jax.types import Array, Float

BT601 = (65.481, 128.553, 24.966)


def to_levels(image: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """[-1, 1] -> what an 8-bit file would hold: 0, 1, ... 255, as float32."""
    return jnp.round(jnp.clip(jnp.asarray(image, jnp.float32) * 127.5 + 127.5, 0, 255))


def luma(image: Float[ArrayLike, "*n 3"]) -> Float[Array, "*n"]:
    """BT.601 luma of the 8-bit RGB values in studio range, 16..235 (MATLAB rgb2ycbcr),
    not rounded again.
    """
    return 16 + to_levels(image) @ jnp.asarray(BT601) / 255
