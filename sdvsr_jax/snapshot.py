"""A stream's state as plain numpy arrays, for a file or another process, and back, bit
for bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sdvsr_jax.state import StreamState


def to_arrays(state: StreamState) -> dict[str, np.ndarray]:
    """Returns copies of the state's leaves by number; they outlive the next step."""
    # numpy has no type for JAX's keys
    data = jax.random.key_data(state.key)
    raw = state._replace(key=data)
    leaves = jax.tree.leaves(raw)
    # by number in three digits, so that names sort as the leaves do
    return {f"{i:03d}": np.array(leaf) for i, leaf in enumerate(leaves)}


def from_arrays(like: StreamState, arrays: Mapping[str, np.ndarray]) -> StreamState:
    """The inverse; ``like`` is a state (or its shapes) of the same model, size and
    number of streams.

    Raises ValueError if the arrays belong to another model or size.
    """
    data = jax.eval_shape(jax.random.key_data, like.key)
    raw = like._replace(key=data)
    shapes, tree = jax.tree.flatten(raw)
    names = sorted(arrays)
    leaves = [arrays[name] for name in names]
    if _kinds(leaves) != _kinds(shapes):
        raise ValueError(
            "the saved state belongs to another model, frame size or number of streams"
        )
    state: StreamState = tree.unflatten(leaves)
    key = jax.random.wrap_key_data(state.key)
    return state._replace(key=key)


def _kinds(leaves: Sequence[Any]) -> list[tuple[tuple[int, ...], np.dtype]]:
    return [(leaf.shape, leaf.dtype) for leaf in leaves]
