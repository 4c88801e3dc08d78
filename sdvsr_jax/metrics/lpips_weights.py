"""LPIPS weights: the standard state dict (names of the `lpips` package) in safetensors,
to params and checked.

For another net save `lpips.LPIPS(net='alex').state_dict()` with
`safetensors.torch.save_file` and pass its path.
"""

import re
from collections.abc import Mapping
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


def load_lpips(path: str | Path | None = None, net: str = "squeeze") -> Params:
    """Params of `lpips`: the shipped SqueezeNet weights, or a safetensors file of the
    standard state dict.

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
    flat = {}
    unknown = []
    for name, value in state.items():
        key = _target(name)
        if key is not None:
            flat[key] = _layout(np.asarray(value, np.float32))
        elif not _IGNORED.match(name):
            unknown.append(name)
    _check(flat, unknown, net)
    return jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(flat))


def _target(name: str) -> tuple[str, ...] | None:
    if match := _HEAD.fullmatch(name):
        return ("heads", match[1])
    if match := _TRUNK.fullmatch(name):
        parts = match[2].replace("weight", "kernel").split(".")
        return ("net", f"features_{match[1]}", *parts)
    return None


def _layout(value: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO; a head [1, c, 1, 1] -> [c]."""
    if value.ndim == 4 and value.shape[0] == 1 and value.shape[2:] == (1, 1):
        return value[0, :, 0, 0]
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _expected(net: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    if net not in TRUNKS:
        raise ValueError(f"net {net!r}: expected one of {sorted(TRUNKS)}")
    image = jnp.zeros((1, MIN_SIZE, MIN_SIZE, 3))
    taps, variables = jax.eval_shape(
        Trunk(net).init_with_output, jax.random.key(0), image
    )
    leaves: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(variables["params"])  # pyright: ignore
    return {("net", *key): leaf.shape for key, leaf in leaves.items()} | {
        ("heads", f"lin{i}"): (tap.shape[-1],) for i, tap in enumerate(taps)
    }


def _check(
    flat: dict[tuple[str, ...], np.ndarray], unknown: list[str], net: str
) -> None:
    expected = _expected(net)
    faults = [f"unknown {name}" for name in unknown]
    faults += [f"unknown {'.'.join(key)}" for key in flat.keys() - expected.keys()]
    faults += [f"missing {'.'.join(key)}" for key in expected.keys() - flat.keys()]
    faults += [
        f"{'.'.join(key)} has shape {flat[key].shape}, expected {expected[key]}"
        for key in flat.keys() & expected.keys()
        if flat[key].shape != expected[key]
    ]
    if faults:
        raise ValueError(
            f"not an LPIPS {net!r} state dict: {'; '.join(sorted(faults))}"
        )
