"""The mean pattern of a period, and its removal from the last layer's biases."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.phases import centred, phase_means

PERIOD = 4


def pattern_of(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pattern = rng.normal(size=(PERIOD, PERIOD, 3)).astype(np.float32)
    return pattern - pattern.mean((0, 1))


@given(st.integers(0, 100), st.integers(1, 5), st.integers(1, 5))
def test_a_pattern_that_fills_an_image_is_found(seed, rows, columns):
    pattern = pattern_of(seed)
    image = np.tile(pattern, (2, rows, columns, 1)) + 0.3
    means = phase_means(jnp.asarray(image), PERIOD)
    # float32 means of up to 50 cells
    np.testing.assert_allclose(means, pattern, atol=1e-5)


def test_a_picture_that_repeats_with_the_cells_has_no_mean_over_them() -> None:
    """Differences from cell to cell go out with their number."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 400, 400, 3)).astype(np.float32)
    means = phase_means(jnp.asarray(image), PERIOD)
    # 10,000 cells: a mean of noise is a hundredth
    assert float(jnp.abs(means).max()) < 0.05


def test_the_pattern_leaves_the_biases_of_the_last_layer() -> None:
    pattern = pattern_of(1)
    bias = np.arange(PERIOD * PERIOD * 3, dtype=np.float32)
    last = {"bias": bias, "kernel": 7}
    layers = {"layers_2": {"bias": bias + 1}, "layers_11": last}
    params = {"vae": {"decoder": layers, "encoder": 1}, "unet": 2}
    result = centred(params, jnp.asarray(pattern))
    decoder = result["vae"]["decoder"]
    # 11 is behind 2, although not in the order of letters
    np.testing.assert_allclose(decoder["layers_11"]["bias"], bias - pattern.ravel())
    np.testing.assert_array_equal(decoder["layers_2"]["bias"], bias + 1)
    assert decoder["layers_11"]["kernel"] == 7
    assert result["unet"] == 2
    # the tree that was given is unchanged
    np.testing.assert_array_equal(last["bias"], bias)
