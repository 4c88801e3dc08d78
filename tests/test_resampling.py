"""Resampling by whole factors is the general one."""

import functools

import jax
import numpy as np
import pytest

from sdvsr_jax.ops.resize import resize_linear

resize = jax.jit(resize_linear, static_argnums=(1, 2))


@functools.partial(jax.jit, static_argnums=1)
def general(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    batch, _, _, channels = x.shape
    shape = (batch, *size, channels)
    return jax.image.resize(x, shape, "linear", antialias=False)


@pytest.mark.parametrize("size", [(5, 7), (1, 3)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_linear_by_a_whole_factor(size: tuple[int, int], scale: int) -> None:
    x = jax.random.normal(jax.random.key(scale), (2, *size, 3))
    height, width = size
    larger = (scale * height, scale * width)
    expected = general(x, larger)
    # at scale 3 the weights are no binary fractions: 1.5e-6 apart
    np.testing.assert_allclose(resize(x, *larger), expected, atol=3e-6)


@pytest.mark.parametrize("size", [(7, 16), (16, 7), (23, 12)])
def test_linear_to_any_size(size: tuple[int, int]) -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 8, 2))
    expected = general(x, size)
    np.testing.assert_array_equal(resize(x, *size), expected)
