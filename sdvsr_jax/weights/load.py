"""Load and save a model: a name shipped with the package, a file, a folder or a hub id.
safetensors only.

Our own file is one .safetensors whose keys are parameter paths
(``unet/conv_in/kernel``) and whose metadata holds the ModelConfig as JSON.
"""

import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sdvsr_jax import config as configs
from sdvsr_jax.atomic import atomic_write
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.types import Params
from sdvsr_jax.weights import hub
from sdvsr_jax.weights.checksum import sha256, sha256_of_arrays
from sdvsr_jax.weights.paths import flatten, unflatten
from sdvsr_jax.weights.torch_names import check

SHIPPED = resources.files("sdvsr_jax") / "weights"
FLOATS = ("float16", "bfloat16", "float32", "float64")


def load(
    model: str = "nano",
    *,
    flow_weights: str | Path | None = None,
    offline: bool = False,
    revision: str | None = None,
    complete: bool = True,
) -> tuple[ModelConfig, Params]:
    """Returns config and numpy parameters of ``model``; pass the parameters through
    `prepare.prepare` before use.

    ``model`` is a shipped name ("nano"), a .safetensors file of ours, a folder in the
    published layout, or a hub id ("Jamichsu/Stream-DiffVSR", or ...@revision). Raises a
    ValueError that names the fault and the cure. ``complete=False`` leaves
    `check_complete` of a file of ours (a second of tracing) to the caller.
    """
    path = locate(model, offline=offline, revision=revision)
    if path.is_dir():
        flow = Path(flow_weights) if flow_weights else None
        # Imported for folders alone, since it knows the networks.
        from sdvsr_jax.weights.diffusers_layout import read as read_folder

        config, params = read_folder(path, flow)
    else:
        config, params = read(path, complete=complete)
    check_finite(str(path), params)
    return config, params


def locate(model: str, *, offline: bool = False, revision: str | None = None) -> Path:
    """Where the weights of ``model`` are on this machine; downloads a hub id unless
    ``offline``.
    """
    # Path.expanduser raises for "~nosuch", where this leaves it as it is.
    path = Path(os.path.expanduser(model))
    if _is_published(path):
        return path
    if path.is_file():
        return path
    if model in shipped():
        return _verified(model)
    if not path.exists() and hub.is_hub_id(model):
        return hub.fetch(model, offline=offline, revision=revision)
    fault = "no such file or folder"
    if path.is_dir():
        fault = "a folder without unet/config.json"
    raise ValueError(
        f"model {model!r}: {fault}; expected one of {sorted(shipped())}, a "
        ".safetensors file, a checkpoint folder or a hub id like "
        "Jamichsu/Stream-DiffVSR"
    )


def _is_published(folder: Path) -> bool:
    """Whether the folder looks like a published (or exported) checkpoint."""
    return (folder / "unet" / "config.json").is_file()


def shipped() -> dict[str, str]:
    """Names of the models in the package and the SHA-256 of their files."""
    return json.loads((SHIPPED / "checksums.json").read_text("utf-8"))


def read(path: Path, *, complete: bool = True) -> tuple[ModelConfig, Params]:
    """Config and parameters of one file of ours; ``complete``: and in shape, or a
    ValueError with all faults.
    """
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: not a .safetensors file; pickles run code when read, so they are "
            "refused"
        )
    flat, metadata = _read_file(path)
    _check_metadata(path, flat, metadata)
    for keys, array in flat.items():
        if array.dtype.name not in FLOATS:
            raise ValueError(
                f"{path}: {'/'.join(keys)} is {array.dtype}, expected one of "
                f"{', '.join(FLOATS)}"
            )
    try:
        config = configs.from_dict(json.loads(metadata["config"]))
        params = unflatten(flat)
    # a damaged file can hold anything: names that contradict each other, numbers of any
    # size, other kinds than expected
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
    ) as error:
        raise ValueError(
            f"{path}: no model of this version, or damaged ({error})"
        ) from None
    if complete:
        check_complete(str(path), params, config)
    return config, params


Flat = dict[tuple[str, ...], np.ndarray]


def _read_file(path: Path) -> tuple[Flat, dict[str, str]]:
    """Arrays by path, and the metadata."""
    try:
        with safe_open(path, "numpy") as file:
            flat = {}
            for key in file.keys():  # noqa: SIM118
                keys = tuple(key.split("/"))
                flat[keys] = file.get_tensor(key)
            return flat, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from None


def _check_metadata(path: Path, flat: Flat, metadata: dict[str, str]) -> None:
    if "config" not in metadata:
        raise ValueError(
            f"{path}: has no model config in its metadata, expected a file written by "
            "sdvsr_jax"
        )
    digest = _digest(flat, metadata["config"])
    # files of early versions have none
    if metadata.get("digest", digest) != digest:
        raise ValueError(
            f"{path}: was changed after it was saved (its digest differs): get the "
            "file again"
        )


def save(path: str | Path, config: ModelConfig, params: Params, **notes: str) -> None:
    """Writes one file of ours, atomically; ``notes`` go to the metadata (training
    command, data, metrics).
    """
    flat = {}
    named = {}
    for keys, leaf in flatten(params).items():
        # safetensors writes the memory of an array as it lies, whatever its strides
        array = np.asarray(leaf, order="C")
        flat[keys] = array
        named["/".join(keys)] = array
    text = json.dumps(configs.to_dict(config))
    metadata = {**notes, "config": text, "digest": _digest(flat, text)}
    with atomic_write(path) as part:
        save_file(named, part, metadata=metadata)
        # safetensors creates files for the owner alone; weights are for everyone
        part.chmod(0o644)


def _digest(flat: Mapping[tuple[str, ...], np.ndarray], config: str) -> str:
    """Over the config and all weights, whatever their order in the file."""
    paths = sorted(flat)
    named = (("/".join(path), flat[path]) for path in paths)
    return sha256_of_arrays(named, config)


def _verified(name: str) -> Path:
    path = Path(str(SHIPPED / f"{name}.safetensors"))
    digest = sha256(path)
    expected = shipped()[name]
    if digest != expected:
        raise ValueError(
            f"{path}: checksum {digest[:12]}..., expected {expected[:12]}...: "
            "reinstall the package"
        )
    return path


def check_finite(source: str, params: Params) -> None:
    """Raises ValueError if any weight is NaN or infinite; ``source`` is named in it."""
    leaves = flatten(params)
    for keys, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            name = "/".join(keys)
            raise ValueError(
                f"{source}: {name} holds values that are not finite: "
                "the weights are damaged, get them again"
            )


def check_complete(source: str, params: Params, config: ModelConfig) -> None:
    """Raises ValueError with all faults if names and shapes are not those of the
    config; ``source`` is named in it.
    """
    from sdvsr_jax.networks import abstract_params

    target = _shapes(abstract_params(config))
    shapes = _shapes(params)
    misshaped = [
        f"{name} is {list(shapes[name])}, expected {list(target[name])}"
        for name in target.keys() & shapes.keys()
        if shapes[name] != target[name]
    ]
    check(
        source,
        missing=sorted(target.keys() - shapes.keys()),
        unexpected=sorted(shapes.keys() - target.keys()),
        misshaped=sorted(misshaped),
    )


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for path, leaf in flatten(params).items():
        name = "/".join(path)
        shapes[name] = leaf.shape
    return shapes
