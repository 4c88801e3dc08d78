"""Names and layouts between our parameter trees and PyTorch state dicts, as invertible
rules.

A state-dict key follows from the path of a leaf:
``down_blocks_0/resnets_1/conv1/kernel`` is ``down_blocks.0.resnets.1.conv1.weight``.
Both directions are strict: every key is used or ignored by name with a reason, every
leaf is filled, shapes agree, and all faults are reported together.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from sdvsr_jax.types import Params
from sdvsr_jax.weights.paths import flatten, unflatten

IGNORED = {
    r"class_embedding\.weight": (
        "noise-level label of the x4 upscaler; the published pipeline never passes one"
    ),
    r".*\.num_batches_tracked": "counts training batches of a batch norm",
    r"text_model\.embeddings\.position_ids": "the numbers 0..76",
}
"""State-dict keys (regular expressions) that carry nothing for inference."""

# Names that end in _<n> in the checkpoint itself; elsewhere that is our form of .<n>.
NUMBERED = {"linear_1", "linear_2"}

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}

TO_TORCH = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}
"""Kernel axes by rank: HWIO -> OIHW, WIO -> OIW, [in, out] -> [out, in]."""

# A file of another model lacks hundreds of keys; the first ones tell which it is.
MAX_LISTED = 8


def torch_key(path: Iterable[str]) -> str:
    """Returns the state-dict key of the leaf at ``path``."""
    # torch names by the place only: kernels, scales and embeddings are all `weight`
    *modules, leaf = path
    segments = [_segment(name) for name in modules]
    torch_leaf = LEAVES.get(leaf, leaf)
    return ".".join([*segments, torch_leaf])


def _segment(module: str) -> str:
    if module in NUMBERED:
        return module
    return re.sub(r"_(\d+)$", r".\1", module)


def torch_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of that leaf in a state dict."""
    axes = _axes(path, len(shape))
    return tuple(shape[axis] for axis in axes)


def to_torch(params: Params) -> dict[str, np.ndarray]:
    """Returns one network's parameters as a state dict (contiguous numpy arrays)."""
    state = {}
    for path, leaf in flatten(params).items():
        array = np.asarray(leaf)
        axes = _axes(path, array.ndim)
        transposed = array.transpose(axes)
        key = torch_key(path)
        # safetensors writes the memory of an array as it lies, whatever its strides
        state[key] = np.asarray(transposed, order="C")
    return state


def from_torch(state: Mapping[str, np.ndarray], target: Params, name: str) -> Params:
    """Returns a state dict as float32 parameters shaped like ``target`` (abstract
    arrays will do).

    Raises a ValueError that lists all missing, unexpected and mis-shaped keys of the
    network ``name``.
    """
    leaves = flatten(target)
    paths = {torch_key(path): path for path in leaves}
    arrays = {}
    for key, array in state.items():
        if not is_ignored(key):
            arrays[key] = array
    misshaped = []
    for key in paths.keys() & arrays.keys():
        path = paths[key]
        expected = torch_shape(path, leaves[path].shape)
        shape = arrays[key].shape
        if shape != expected:
            fault = f"{key} is {list(shape)}, expected {list(expected)}"
            misshaped.append(fault)
    check(
        name,
        missing=sorted(paths.keys() - arrays.keys()),
        unexpected=sorted(arrays.keys() - paths.keys()),
        misshaped=sorted(misshaped),
    )
    flat = {}
    for key, path in paths.items():
        array = arrays[key]
        axes = _axes(path, array.ndim)
        # the inverse of a permutation
        back = np.argsort(axes)
        transposed = array.transpose(back)
        flat[path] = np.asarray(transposed, np.float32, order="C")
    return unflatten(flat)


def is_ignored(key: str) -> bool:
    """Whether a state-dict key is on the list of those that carry nothing."""
    return any(re.fullmatch(pattern, key) for pattern in IGNORED)


def check(
    name: str, missing: list[str], unexpected: list[str], misshaped: list[str]
) -> None:
    """Raises one ValueError for all faults of a checkpoint part, or does nothing."""
    faults = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshaped,
    }
    lines = [
        f"{len(keys)} {fault} ({_listed(keys)})"
        for fault, keys in faults.items()
        if keys
    ]
    if lines:
        raise ValueError(
            f"{name}: the weights do not fit the model: {'; '.join(lines)}"
        )


def _listed(keys: list[str]) -> str:
    some = ", ".join(keys[:MAX_LISTED])
    rest = len(keys) - MAX_LISTED
    if rest <= 0:
        return some
    return f"{some}, and {rest} more"


def _axes(path: tuple[str, ...], rank: int) -> tuple[int, ...]:
    """The axes of our leaf in torch's order."""
    *_, leaf = path
    if leaf == "kernel":
        return TO_TORCH[rank]
    return tuple(range(rank))
