"""Which parameters a stage moves: flat {path: array} halves of the parameter tree."""

import fnmatch
from collections.abc import Iterable
from typing import Any

from flax import traverse_util

from sdvsr_jax.types import Params

Flat = dict[str, Any]
"""Parameter path -> array."""


def flatten(params: Params) -> Flat:
    """Nested dict -> {'unet/conv_in/kernel': array}."""
    flat: Flat = traverse_util.flatten_dict(params, sep="/")  # pyright: ignore[reportAssignmentType]
    return flat


def select(params: Params, patterns: Iterable[str]) -> tuple[Flat, Flat]:
    """(trained, frozen): trained paths match a pattern ('unet/*'). A pattern without a
    match is a ValueError.
    """
    flat = flatten(params)
    trained: Flat = {}
    for pattern in patterns:
        # not fnmatch(), which ignores case on some systems
        matches = [path for path in flat if fnmatch.fnmatchcase(path, pattern)]
        if not matches:
            raise ValueError(
                f"trained={pattern!r} matches no parameter; the parts are "
                f"{sorted(params)}"
            )
        trained |= {path: flat[path] for path in matches}
    frozen = dict(flat)
    for path in trained:
        del frozen[path]
    return trained, frozen


def merge(trained: Flat, frozen: Flat) -> Params:
    """Inverse of `select`."""
    return traverse_util.unflatten_dict(frozen | trained, sep="/")


def guidance_from_unet(params: Params) -> Params:
    """The guidance branch starts as the U-Net's encoder half; its own zero convolutions
    and condition stay.
    """
    unet = flatten(params["unet"])
    controlnet = flatten(params["controlnet"])
    shared = [path for path in controlnet if not path.startswith("controlnet_")]
    unknown = set(shared) - unet.keys()
    if unknown:
        examples = sorted(unknown)[:3]
        raise ValueError(f"guidance_from_unet: the U-Net has no {examples}")
    flat = {path: unet.get(path, value) for path, value in controlnet.items()}
    branch = traverse_util.unflatten_dict(flat, sep="/")
    return params | {"controlnet": branch}
