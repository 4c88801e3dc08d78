"""A stream's state as plain numpy arrays, for a file or another process, and back, bit
for bit.
"""

from collections.abc import Mapping

import jax
import numpy as np

from sdvsr_jax.state import StreamState


def to_arrays(state: StreamState) -> dict[str, np.ndarray]:
    """Returns copies of the state's leaves by number; they outlive the next step."""
    # numpy has no type for JAX's keys
    raw = state._replace(key=jax.random.key_data(state.key))
    leaves = jax.tree.leaves(raw)
    return {f"{i:03d}": np.array(leaf) for i, leaf in enumerate(leaves)}


def from_arrays(like: StreamState, arrays: Mapping[str, np.ndarray]) -> StreamState:
    """The inverse; ``like`` is a state (or its shapes) of the same model, size and
    number of streams.

    Raises ValueError if the arrays belong to another model or size.
    """
    raw = like._replace(key=jax.eval_shape(jax.random.key_data, like.key))
    shapes, tree = jax.tree.flatten(raw)
    leaves = [arrays[name] for name in sorted(arrays)]
    expected = [(shape.shape, shape.dtype) for shape in shapes]
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != expected:
        raise ValueError(
            "the saved state belongs to another model, frame size or number of streams"
        )
    state: StreamState = tree.unflatten(leaves)
    return state._replace(key=jax.random.wrap_key_data(state.key))
