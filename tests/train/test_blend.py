"""Between a model before and after training lies a line with both at its ends."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.networks import bind
from sdvsr_jax.types import Params
from tests import tiny_models
from train.blend import blend, weakened


def trained_with_a_restorer() -> Params:
    return tiny_models.random_params(tiny_models.TINY["restored"]())


def without_restorer(params: Params, *, scale: float = 1.0) -> Params:
    others = {name: part for name, part in params.items() if name != "restorer"}
    return jax.tree.map(lambda leaf: scale * leaf, others)


def test_the_ends_are_the_models() -> None:
    trained = trained_with_a_restorer()
    # the model before training has no restorer, and other weights everywhere
    start = without_restorer(trained, scale=2.0)
    last = blend(start, trained, 1.0)
    jax.tree.map(np.testing.assert_array_equal, last, trained)
    first = without_restorer(blend(start, trained, 0.0))
    jax.tree.map(np.testing.assert_array_equal, first, start)


def test_half_way_is_the_mean() -> None:
    trained = trained_with_a_restorer()
    start = without_restorer(trained, scale=3.0)
    middle = without_restorer(blend(start, trained, 0.5))
    expected = without_restorer(trained, scale=2.0)
    # a rounding or two of float32
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, middle, expected)


def test_a_weakened_restorer_advises_the_same_amount_of_a_smaller_residual() -> None:
    config = tiny_models.TINY["restored"]()
    params = trained_with_a_restorer()
    weak = params | {"restorer": weakened(params["restorer"], 0.25)}
    assert config.restorer is not None
    frame, previous = tiny_models.frames(2, height=16, width=24)
    validity = jnp.full((1, 16, 24, 1), 0.5)
    memory = jnp.ones((1, 8, 12, config.restorer.memory_channels))

    def repair(tree: Params) -> Any:
        restorer = bind(tree, config).restorer
        assert restorer is not None
        return restorer(frame, previous, memory, validity)

    full = repair(params)
    quarter = repair(weak)
    # a quarter is a power of two: only the sums' order could differ
    np.testing.assert_allclose(quarter.residual, 0.25 * full.residual, atol=1e-6)
    np.testing.assert_array_equal(quarter.amount, full.amount)
    np.testing.assert_array_equal(quarter.memory, full.memory)


def test_models_of_other_parts_and_other_shares_are_refused() -> None:
    trained = trained_with_a_restorer()
    start = without_restorer(trained)
    with pytest.raises(ValueError, match="the parts of the models differ"):
        blend({"vae": start["vae"]}, trained, 0.5)
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        blend(start, trained, 1.5)
