"""The convolution of an upsampled image equals its sub-pixel form, borders and cropped
sizes included.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.flops import count
from sdvsr_jax.ops.resize import resize_nearest
from sdvsr_jax.ops.subpixel import phase_kernels, upsampled_conv

LAYOUTS = ("NHWC", "HWIO", "NHWC")


def plain(x: jax.Array, kernel: jax.Array, height: int, width: int) -> jax.Array:
    y = resize_nearest(x, height, width)
    conv = jax.lax.conv_general_dilated
    return conv(y, kernel, (1, 1), "SAME", dimension_numbers=LAYOUTS)


def random(shape: tuple[int, ...], seed: int) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


# doubled, the last row or column or both cut off, one pixel, and sizes that are not a
# doubling at all
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((4, 5), (8, 10)),
        ((4, 5), (7, 10)),
        ((4, 5), (8, 9)),
        ((4, 5), (7, 9)),
        ((2, 2), (3, 3)),
        ((1, 3), (2, 6)),
        ((1, 1), (1, 1)),
        ((4, 5), (4, 5)),
        ((4, 5), (11, 13)),
    ],
)
def test_it_equals_resizing_and_convolving(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    x = random((2, *old, 3), 0)
    kernel = random((3, 3, 3, 4), 1)
    expected = plain(x, kernel, *new)
    collapsed_here = upsampled_conv(x, kernel, *new)
    # weights of the phases are sums: 27 products of values near 1, in another order
    np.testing.assert_allclose(collapsed_here, expected, atol=1e-5)
    phases = phase_kernels(kernel)
    collapsed_before = upsampled_conv(x, kernel, *new, phases=phases)
    np.testing.assert_allclose(collapsed_before, expected, atol=1e-5)


def test_its_gradients_are_the_same() -> None:
    x = random((1, 4, 3, 2), 2)
    kernel = random((3, 3, 2, 2), 3)
    # every output pixel counts differently
    weight = random((1, 7, 6, 2), 4)

    def gradients(function) -> tuple[jax.Array, jax.Array]:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            y = function(x, kernel, 7, 6)
            return (weight * y).sum()

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    pairs = zip(gradients(upsampled_conv), gradients(plain))
    for ours, expected in pairs:
        # a kernel's gradient sums 42 products per output channel
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_it_needs_four_ninths_of_the_arithmetic() -> None:
    x = jnp.zeros((1, 90, 160, 8))
    kernel = jnp.zeros((3, 3, 8, 8))

    def operations(function) -> int:
        return count(lambda x, kernel: function(x, kernel, 180, 320), x, kernel)

    share = operations(upsampled_conv) / operations(plain)
    # one position more per row and column, for the pixels beyond the borders
    borders = 91 / 90 * 161 / 160
    assert share == pytest.approx(4 / 9 * borders)


def test_bfloat16_is_as_near_to_float32_as_the_plain_form() -> None:
    x = random((1, 16, 16, 32), 5)
    kernel = random((3, 3, 32, 16), 6)
    exact = plain(x, kernel, 32, 32)

    halves = [array.astype(jnp.bfloat16) for array in (x, kernel)]

    def error(function) -> float:
        y = function(*halves, 32, 32)
        assert y.dtype == jnp.bfloat16
        difference = y.astype(jnp.float32) - exact
        share = jnp.mean(difference**2) / jnp.mean(exact**2)
        return float(jnp.sqrt(share))

    of_plain = error(plain)
    # 8 bits of mantissa round by 0.4 %; collapsed weights are rounded once as well
    assert error(upsampled_conv) < 1.2 * of_plain < 0.01
