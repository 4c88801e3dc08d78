"""Nested parameters as a flat dict by path, and back: flax's form of it would import
all of flax for a start that needs no networks.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sdvsr_jax.types import Params

Path = tuple[str, ...]


def flatten(params: Mapping[str, Any]) -> dict[Path, Any]:
    """Returns the leaves by their paths, in the order of the tree."""
    return dict(_leaves(params, ()))


def _leaves(tree: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for name, value in tree.items():
        place = (*path, name)
        if isinstance(value, Mapping):
            yield from _leaves(value, place)
        else:
            yield place, value


def unflatten(leaves: Mapping[Path, Any]) -> Params:
    """The inverse; ValueError if one path leads through the leaf of another."""
    tree: Params = {}
    for path, leaf in leaves.items():
        *modules, name = path
        place = tree
        for module in modules:
            place = place.setdefault(module, {})
            # a forged file may say so
            if not isinstance(place, dict):
                raise ValueError(f"{'/'.join(path)} leads through an array")
        if name in place:
            raise ValueError(f"{'/'.join(path)} is an array and a group of arrays")
        place[name] = leaf
    return tree
