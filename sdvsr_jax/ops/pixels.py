"""Pixels as users have them <-> the package's [-1, 1]: uint8 is 0..255, uint16
0..65535, floats 0..1.
"""

import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.types import Array


def from_pixels(pixels: Array) -> Array:
    """float32 in [-1, 1]."""
    return pixels.astype(jnp.float32) * (2 / _top(pixels.dtype)) - 1


def to_pixels(image: Array, dtype: DTypeLike) -> Array:
    """The inverse, clipped; integers are rounded, once."""
    values = _top(dtype) * jnp.clip(image / 2 + 0.5, 0, 1)
    return (
        values if jnp.issubdtype(dtype, jnp.floating) else jnp.round(values)
    ).astype(dtype)


def _top(dtype: DTypeLike) -> int:
    return 1 if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).max)
