"""Layers: torch's padding, biases that are handed in, kernels in either order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.models.linear import Dense, conv


def random(*shape: int, seed: int = 0) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def test_a_strided_convolution_pads_both_sides_alike() -> None:
    """As torch: the output of an even side begins at pixel 0; JAX's SAME would begin at
    pixel 1.
    """
    layer = conv(1, kernel=3, stride=2, bias=False, dtype=jnp.float32)
    middle = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    x = random(1, 6, 8, 1)
    params = {"kernel": middle}
    y = layer.apply({"params": params}, x)
    every_second = x[:, ::2, ::2]
    np.testing.assert_array_equal(y, every_second)


def test_a_bias_that_is_handed_in_replaces_the_layers() -> None:
    layer = conv(4, dtype=jnp.float32)
    x = random(2, 5, 5, 3)
    fresh = layer.init(jax.random.key(0), x)["params"]
    bias = random(4, seed=1)
    shift = random(1, 4, seed=2)
    bound = layer.bind({"params": fresh | {"bias": bias}})
    shifted = bound(x, bound.shifted(shift))
    zero = {"bias": jnp.zeros(4)}
    without = layer.apply({"params": fresh | zero}, x)
    expected = without + bias + shift[:, None, None]
    # two sums in another order
    np.testing.assert_allclose(shifted, expected, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_kernel_with_its_outputs_first_is_the_same_kernel(kernel: int) -> None:
    layer = conv(4, kernel=kernel, dtype=jnp.float32)
    x = random(1, 6, 5, 3)
    params = layer.init(jax.random.key(0), x)["params"]
    reordered = {
        "kernel_ohwi": params["kernel"].transpose(3, 0, 1, 2),
        "bias": params["bias"],
    }
    expected = layer.apply({"params": params}, x)
    y = layer.apply({"params": reordered}, x)
    # sums of 27 products in another order
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_a_layer_that_starts_at_zero_gives_nothing() -> None:
    layer = conv(4, zero=True, dtype=jnp.float32)
    x = random(1, 5, 5, 3)
    y, _ = layer.init_with_output(jax.random.key(0), x)
    assert not np.asarray(y).any()


def test_16_bit_layers_give_16_bits_from_float32_weights() -> None:
    cases = [
        (conv(4, dtype=jnp.bfloat16), random(1, 4, 4, 3)),
        (Dense(4, jnp.bfloat16), random(1, 7, 3)),
    ]
    for layer, x in cases:
        y, variables = layer.init_with_output(jax.random.key(0), x)
        assert y.dtype == jnp.bfloat16
        assert variables["params"]["kernel"].dtype == jnp.float32
