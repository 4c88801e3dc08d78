"""Pixels as users have them <-> the package's [-1, 1]: uint8 is 0..255, uint16
0..65535, floats 0..1.
"""

import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.types import Array, Num


def from_pixels(pixels: Num[Array, "*shape"]) -> Array:
    """Returns float32 in [-1, 1], of the same shape."""
    values = pixels.astype(jnp.float32)
    factor = 2 / _top(pixels.dtype)
    return values * factor - 1


def to_pixels(image: Num[Array, "*shape"], dtype: DTypeLike) -> Array:
    """The inverse, clipped; integers are rounded, once."""
    unit = image / 2 + 0.5
    # SR frames are unclamped, and an integer type would wrap around
    unit = jnp.clip(unit, 0, 1)
    values = _top(dtype) * unit
    if not jnp.issubdtype(dtype, jnp.floating):
        values = jnp.round(values)
    return values.astype(dtype)


def _top(dtype: DTypeLike) -> int:
    if jnp.issubdtype(dtype, jnp.floating):
        return 1
    limits = jnp.iinfo(dtype)
    return int(limits.max)
