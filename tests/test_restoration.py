"""The repair of a frame reads no state that is not its own past, and off is off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import StreamState, init_state
from sdvsr_jax.history import Motion
from sdvsr_jax.networks import bind
from sdvsr_jax.restoration import restore
from sdvsr_jax.types import Params
from tests.tiny_models import frames, random_params, tiny_restored

# even, because the restorer works at half the size
SIZE = (16, 20)
CONFIG = tiny_restored()
STILL = jnp.zeros((1, *SIZE, 2))
MOTION = Motion(
    flow=jnp.zeros((1, 64, 80, 2)),
    flow_lr=STILL,
    features=(),
    validity=jnp.ones((1, *SIZE, 1)),
)


@pytest.fixture(scope="module")
def params() -> Params:
    return random_params(CONFIG)


@jax.jit
def repaired(
    params: Params, state: StreamState, lr: jax.Array, follows: jax.Array
) -> jax.Array:
    return restore(bind(params, CONFIG), MOTION, state, lr, follows).lr


def state_of(degree: float, value: float) -> StreamState:
    """A state whose frame and memory have one value everywhere."""
    state = init_state(CONFIG, 1, *SIZE, restore=degree)
    return state._replace(
        prev_lr=jnp.full_like(state.prev_lr, value),
        memory=jnp.full_like(state.memory, value),
    )


def test_a_frame_without_a_past_reads_nothing_of_the_state(params: Params) -> None:
    (lr,) = frames(1, 1, *SIZE)
    expected = repaired(params, state_of(1.0, 0.0), lr, jnp.array([False]))
    poisoned = repaired(params, state_of(1.0, np.nan), lr, jnp.array([False]))
    np.testing.assert_array_equal(poisoned, expected)
    # a frame that follows does read it
    follower = repaired(params, state_of(1.0, np.nan), lr, jnp.array([True]))
    assert np.isnan(follower).any()


def test_off_is_the_very_same_frame_even_where_the_repair_is_not_finite(
    params: Params,
) -> None:
    (lr,) = frames(1, 1, *SIZE)
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.inf), params["restorer"])
    infinite = params | {"restorer": broken}
    state = state_of(0.0, 0.0)
    out = repaired(infinite, state, lr, jnp.array([True]))
    np.testing.assert_array_equal(out, lr)
    # it is not finite
    on = repaired(infinite, state_of(1.0, 0.0), lr, jnp.array([True]))
    assert not np.isfinite(on).all()
