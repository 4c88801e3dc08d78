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


def plain(x: jax.Array, kernel: jax.Array, height: int, width: int) -> jax.Array:
    y = resize_nearest(x, height, width)
    return jax.lax.conv_general_dilated(
        y, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def random(shape: tuple[int, ...], seed: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


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
    x, kernel = random((2, *old, 3), 0), random((3, 3, 3, 4), 1)
    expected = plain(x, kernel, *new)
    np.testing.assert_allclose(upsampled_conv(x, kernel, *new), expected, atol=1e-5)
    found = upsampled_conv(x, kernel, *new, phases=phase_kernels(kernel))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_its_gradients_are_the_same() -> None:
    x, kernel = random((1, 4, 3, 2), 2), random((3, 3, 2, 2), 3)
    weight = random((1, 7, 6, 2), 4)

    def loss(function):
        return jax.grad(lambda *a: (weight * function(*a, 7, 6)).sum(), argnums=(0, 1))(
            x, kernel
        )

    for found, expected in zip(loss(upsampled_conv), loss(plain)):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_needs_four_ninths_of_the_arithmetic() -> None:
    x, kernel = jnp.zeros((1, 90, 160, 8)), jnp.zeros((3, 3, 8, 8))
    ratio = count(lambda *a: upsampled_conv(*a, 180, 320), x, kernel) / count(
        lambda *a: plain(*a, 180, 320), x, kernel
    )
    # One position more per row and column, for the pixels beyond the borders.
    assert ratio == pytest.approx(4 / 9 * 91 / 90 * 161 / 160)


def test_bfloat16_is_as_near_to_float32_as_the_plain_form() -> None:
    x, kernel = random((1, 16, 16, 32), 5), random((3, 3, 32, 16), 6)
    exact = plain(x, kernel, 32, 32)
    half = (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))

    def error(function) -> float:
        y = function(*half, 32, 32)
        assert y.dtype == jnp.bfloat16
        return float(
            jnp.sqrt(
                jnp.mean((y.astype(jnp.float32) - exact) ** 2) / jnp.mean(exact**2)
            )
        )

    assert error(upsampled_conv) < 1.2 * error(plain) < 0.01
