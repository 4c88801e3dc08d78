"""Pixels of users to [-1, 1] and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.ops.pixels import from_pixels, to_pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_comes_back(dtype: type) -> None:
    white = np.iinfo(dtype).max
    levels = np.arange(white + 1, dtype=dtype)
    image = from_pixels(jnp.asarray(levels))
    back = to_pixels(image, dtype)
    np.testing.assert_array_equal(back, levels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_black_and_white_are_the_ends_of_the_range(dtype: type) -> None:
    is_float = dtype is np.float32
    white = 1 if is_float else np.iinfo(dtype).max
    ends = jnp.asarray([0, white], dtype)
    image = from_pixels(ends)
    # 255 * (2 / 255) is one rounding away from 2
    np.testing.assert_allclose(image, [-1, 1], atol=3e-7)


def test_values_beyond_the_range_are_clipped() -> None:
    image = jnp.asarray([-3.0, 1.5])
    levels = to_pixels(image, np.uint8)
    np.testing.assert_array_equal(levels, [0, 255])
    shares = to_pixels(image, np.float32)
    np.testing.assert_array_equal(shares, [0, 1])


def test_integers_are_rounded_and_not_cut() -> None:
    # 100.6 of 255 levels
    image = jnp.asarray([2 * 100.6 / 255 - 1])
    levels = to_pixels(image, np.uint8)
    assert levels.tolist() == [101]
