"""LPIPS weights: the standard state dict in safetensors, checked, to params.

Names are those of the `lpips` package. For another net save
`lpips.LPIPS(net='alex').state_dict()` with `safetensors.torch.save_file` and pass its
path.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from sdvsr_jax.metrics.lpips import MIN_SIZE, TRUNKS, Trunk
from sdvsr_jax.types import Params

SHIPPED = Path(__file__).parent.parent / "weights" / "lpips_squeeze.safetensors"

_IGNORED = re.compile(
    r"scaling_layer\.|"  # constants, in the code as SHIFT and SCALE
    r"lins\.|"  # a second name of lin0, lin1, ...
    r"classifier\."  # of the torchvision trunk, after the last tap
)
_TRUNK = re.compile(r"(?:net\.slice\d+|features)\.(\d+)\.(.+)")
_HEAD = re.compile(r"(lin\d+)\.model\.1\.weight")

Key = tuple[str, ...]
"""Path of a leaf in the tree of params."""


def load_lpips(path: str | Path | None = None, net: str = "squeeze") -> Params:
    """Returns the params of `lpips`.

    Args:
      path: a safetensors file of the standard state dict; None for the shipped
        SqueezeNet weights.

    Raises:
      ValueError: no path for a net other than 'squeeze', or a file that does not hold
      exactly this net.
    """
    if path is None and net != "squeeze":
        raise ValueError(
            f"net {net!r} is not shipped (only 'squeeze' is): give the path of its "
            "safetensors file"
        )
    return convert_lpips(load_file(path or SHIPPED), net)


def convert_lpips(state: Mapping[str, np.ndarray], net: str = "squeeze") -> Params:
    """Standard state dict -> {'net': trunk, 'heads': {'lin0': [c], ...}}, float32.

    Trunk names may be the lpips package's (`net.slice1.0.weight`) or torchvision's
    (`features.0.weight`).

    Raises:
      ValueError: all missing, unknown and misshapen names at once.
    """
    leaves: dict[Key, np.ndarray] = {}
    faults = []
    for name, value in state.items():
        key = _key(name)
        if key is not None:
            leaves[key] = _layout(np.asarray(value, np.float32))
        elif not _IGNORED.match(name):
            faults.append(f"unknown {name}")
    faults += _shape_faults(leaves, net)
    if faults:
        raise ValueError(
            f"not an LPIPS {net!r} state dict: {'; '.join(sorted(faults))}"
        )
    return jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(leaves))


def _key(name: str) -> Key | None:
    head = _HEAD.fullmatch(name)
    if head is not None:
        return ("heads", head[1])
    layer = _TRUNK.fullmatch(name)
    if layer is None:
        return None
    index, leaf = layer.groups()
    # `weight`, or behind the name of a convolution of a Fire module
    parts = leaf.replace("weight", "kernel").split(".")
    return ("net", f"features_{index}", *parts)


def _layout(value: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO; a head [1, c, 1, 1] -> [c]."""
    if value.ndim != 4:
        return value
    outputs, _, *size = value.shape
    if outputs == 1 and size == [1, 1]:
        return value[0, :, 0, 0]
    return value.transpose(2, 3, 1, 0)


def _expected_shapes(net: str) -> dict[Key, tuple[int, ...]]:
    if net not in TRUNKS:
        raise ValueError(f"net {net!r}: expected one of {sorted(TRUNKS)}")
    image = jnp.zeros((1, MIN_SIZE, MIN_SIZE, 3))
    random_key = jax.random.key(0)
    init = Trunk(net).init_with_output
    taps, variables = jax.eval_shape(init, random_key, image)
    leaves: dict[Key, Any] = traverse_util.flatten_dict(variables["params"])  # pyright: ignore
    shapes = {("net", *key): leaf.shape for key, leaf in leaves.items()}
    for index, tap in enumerate(taps):
        channels = tap.shape[-1]
        shapes["heads", f"lin{index}"] = (channels,)
    return shapes


def _shape_faults(leaves: dict[Key, np.ndarray], net: str) -> Iterator[str]:
    expected = _expected_shapes(net)
    for key in leaves.keys() | expected.keys():
        name = ".".join(key)
        if key not in expected:
            yield f"unknown {name}"
        elif key not in leaves:
            yield f"missing {name}"
        elif leaves[key].shape != expected[key]:
            shape = leaves[key].shape
            yield f"{name} has shape {shape}, expected {expected[key]}"
