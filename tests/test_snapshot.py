"""A state leaves the process and comes back bit for bit, or is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import StreamState, init_state
from sdvsr_jax.snapshot import from_arrays, to_arrays
from tests.tiny_models import TINY, tiny_nano


def state_of(form: str, width: int = 20) -> StreamState:
    """A state in which no two leaves are the same, so that none can take another's
    place.
    """
    state = init_state(TINY[form](), 2, 16, width, seed=5)
    rng = np.random.default_rng(0)

    def fill(leaf: jax.Array) -> jax.Array:
        noise = 100 * rng.random(leaf.shape)
        return jnp.asarray(noise, leaf.dtype)

    values = jax.tree.map(fill, state._replace(key=None))
    return values._replace(key=state.key)


@pytest.mark.parametrize("form", ["nano", "restored"])
def test_a_state_comes_back_bit_for_bit(form: str) -> None:
    state = state_of(form)
    back = from_arrays(state, to_arrays(state))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert bytes_of(back) == bytes_of(state)


def bytes_of(state: StreamState) -> list[bytes]:
    """Of every leaf; a key's are its data."""
    raw = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(raw)]


def test_shapes_are_enough_to_read_it() -> None:
    state = state_of("nano")
    shapes = jax.eval_shape(lambda: init_state(tiny_nano(), 2, 16, 20))
    back = from_arrays(shapes, to_arrays(state))
    assert bytes_of(back) == bytes_of(state)


def test_a_copy_outlives_the_state() -> None:
    state = state_of("nano")
    arrays = to_arrays(state)
    expected = np.array(state.prev_lr)
    # as the next step does, which is given the state's memory
    jax.tree.map(lambda leaf: leaf.delete(), state)
    np.testing.assert_array_equal(arrays["000"], expected)


@pytest.mark.parametrize("other", [("nano", 24), ("restored", 20)])
def test_a_state_of_another_size_or_model_is_refused(other: tuple[str, int]) -> None:
    arrays = to_arrays(state_of("nano"))
    target = state_of(*other)
    with pytest.raises(ValueError, match="another model, frame size or number"):
        from_arrays(target, arrays)
