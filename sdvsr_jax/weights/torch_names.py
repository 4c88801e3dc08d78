"""Names and layouts between our parameter trees and PyTorch state dicts, as invertible
rules.

A state-dict key follows from the path of a leaf:
``down_blocks_0/resnets_1/conv1/kernel`` is ``down_blocks.0.resnets.1.conv1.weight``.
Both directions are strict: every key is used or ignored by name with a reason, every
leaf is filled, shapes agree, and all faults are reported together.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sdvsr_jax.types import Params

IGNORED = {
    r"class_embedding\.weight": "noise-level label of the x4 upscaler; the published pipeline never passes one",
    r".*\.num_batches_tracked": "counts training batches of a batch norm",
    r"text_model\.embeddings\.position_ids": "the numbers 0..76",
}
"""State-dict keys (regular expressions) that carry nothing for inference."""

KEPT_SUFFIXES = {"linear_1", "linear_2"}
"""Segments that end in _<n> in the checkpoint itself."""

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}

TO_TORCH = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}
"""Kernel axes by rank: HWIO -> OIHW, WIO -> OIW, [in, out] -> [out, in]."""

MAX_LISTED = 8


def flatten(
    tree: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> dict[tuple[str, ...], Any]:
    """Nested dict -> {path: leaf}."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in tree.items():
        path = (*prefix, name)
        flat |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def unflatten(flat: Mapping[tuple[str, ...], Any]) -> Params:
    """The inverse of `flatten`."""
    tree: Params = {}
    for path, leaf in flat.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = leaf
    return tree


def torch_key(path: Iterable[str]) -> str:
    """State-dict key of the leaf at ``path``."""
    *modules, leaf = path
    segments = [
        name if name in KEPT_SUFFIXES else re.sub(r"_(\d+)$", r".\1", name)
        for name in modules
    ]
    return ".".join([*segments, LEAVES.get(leaf, leaf)])


def torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of that leaf in a state dict."""
    return tuple(shape[axis] for axis in _axes(path, len(shape)))


def to_torch(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """One network's parameters as a state dict (contiguous numpy arrays)."""
    return {
        torch_key(path): np.asarray(
            np.asarray(leaf).transpose(_axes(path, np.ndim(leaf))), order="C"
        )
        for path, leaf in flatten(params).items()
    }


def from_torch(
    state: Mapping[str, np.ndarray], target: Mapping[str, Any], name: str
) -> Params:
    """A state dict as float32 parameters shaped like ``target`` (abstract arrays will
    do).

    Raises a ValueError that lists all missing, unexpected and mis-shaped keys of the
    network ``name``.
    """
    wanted = {torch_key(path): (path, leaf) for path, leaf in flatten(target).items()}
    found = {key: value for key, value in state.items() if not is_ignored(key)}
    misshaped = [
        f"{key} is {list(found[key].shape)}, expected {list(torch_shape(path, leaf.shape))}"
        for key, (path, leaf) in wanted.items()
        if key in found and found[key].shape != torch_shape(path, leaf.shape)
    ]
    check(name, sorted(wanted.keys() - found), sorted(found.keys() - wanted), misshaped)
    flat = {
        path: np.asarray(
            found[key].transpose(np.argsort(_axes(path, found[key].ndim))),
            np.float32,
            order="C",
        )
        for key, (path, _) in wanted.items()
    }
    return unflatten(flat)


def is_ignored(key: str) -> bool:
    """Whether a state-dict key is on the list of those that carry nothing."""
    return any(re.fullmatch(pattern, key) for pattern in IGNORED)


def check(
    name: str, missing: list[str], unexpected: list[str], misshaped: list[str]
) -> None:
    """Raise one ValueError for all faults of a checkpoint part, or do nothing."""
    faults = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshaped,
    }
    lines = [
        f"{len(keys)} {what} ({_some(keys)})" for what, keys in faults.items() if keys
    ]
    if lines:
        raise ValueError(
            f"{name}: the weights do not fit the model: {'; '.join(lines)}"
        )


def _some(keys: list[str]) -> str:
    more = f", and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
    return ", ".join(keys[:MAX_LISTED]) + more


def _axes(path: tuple[str, ...], rank: int) -> tuple[int, ...]:
    return TO_TORCH[rank] if path[-1] == "kernel" else tuple(range(rank))
