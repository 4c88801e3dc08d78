"""A stream's state as plain numpy arrays, for a file or another process, and back, bit
for bit.
"""

from collections.abc import Mapping

import jax
import numpy as np

from sdvsr_jax.stream import StreamState


def to_arrays(state: StreamState) -> dict[str, np.ndarray]:
    """The leaves of the state by number; copies, so they outlive the next step."""
    raw = state._replace(key=jax.random.key_data(state.key))
    return {f"{i:03d}": np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(raw))}


def from_arrays(like: StreamState, arrays: Mapping[str, np.ndarray]) -> StreamState:
    """The inverse; ``like`` is a state (or its shapes) of the same model, size and
    number of streams.

    Raises ValueError if the arrays belong to another model or size.
    """
    raw = like._replace(key=jax.eval_shape(jax.random.key_data, like.key))
    leaves, tree = jax.tree.flatten(raw)
    found = [arrays[name] for name in sorted(arrays)]
    if [(a.shape, a.dtype) for a in found] != [(s.shape, s.dtype) for s in leaves]:
        raise ValueError(
            "the saved state belongs to another model, frame size or number of streams"
        )
    state: StreamState = tree.unflatten(found)
    return state._replace(key=jax.random.wrap_key_data(state.key))
