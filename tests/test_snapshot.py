"""A state leaves the process and comes back bit for bit, or is refused."""

import jax
import numpy as np
import pytest

from sdvsr_jax import StreamState, init_state
from sdvsr_jax.snapshot import from_arrays, to_arrays
from tests.tiny_models import TINY, tiny_nano


def state_of(form: str, width: int = 20) -> StreamState:
    """A state in which no leaf is zero everywhere."""
    state = init_state(TINY[form](), 2, 16, width, seed=5)
    rng = np.random.default_rng(0)
    noise = jax.tree.map(lambda x: x + rng.random(x.shape, np.float32), state.prev_lr)
    return state._replace(prev_lr=noise, frame_index=state.frame_index + 7)


@pytest.mark.parametrize("form", ["nano", "restored"])
def test_a_state_comes_back_bit_for_bit(form: str) -> None:
    state = state_of(form)
    back = from_arrays(state, to_arrays(state))
    keys = [jax.random.key_data(s.key) for s in (state, back)]
    np.testing.assert_array_equal(*keys)
    for a, b in zip(*(jax.tree.leaves(s._replace(key=None)) for s in (state, back))):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_shapes_are_enough_to_read_it() -> None:
    state = state_of("nano")
    shapes = jax.eval_shape(lambda: init_state(tiny_nano(), 2, 16, 20))
    back = from_arrays(shapes, to_arrays(state))
    np.testing.assert_array_equal(back.prev_lr, state.prev_lr)


def test_a_copy_outlives_the_state() -> None:
    state = state_of("nano")
    arrays = to_arrays(state)
    expected = np.array(state.prev_lr)
    jax.tree.map(lambda leaf: leaf.delete(), state)
    np.testing.assert_array_equal(arrays["000"], expected)


@pytest.mark.parametrize("other", [("nano", 24), ("restored", 20)])
def test_a_state_of_another_size_or_model_is_refused(other: tuple[str, int]) -> None:
    arrays = to_arrays(state_of("nano"))
    with pytest.raises(ValueError, match="another model, frame size or number"):
        from_arrays(state_of(*other), arrays)
