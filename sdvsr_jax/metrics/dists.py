"""DISTS, deep image structure and texture similarity (Ding et al. 2020). The weights
are the user's own file.

VGG16 with smooth pooling; of every channel the global means (texture) and covariances
(structure) are compared like SSIM does, the weights alpha and beta are learned. Save
`DISTS().state_dict()` of the authors' package with `safetensors.torch.save_file`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from safetensors.numpy import load_file

from sdvsr_jax.metrics.lpips import TRUNKS, Conv
from sdvsr_jax.types import Array, Float, Params

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
NUM_CHANNELS = 3 + 64 + 128 + 256 + 512 + 512
STAGES = TRUNKS["vgg16"]

_CONV = re.compile(r"(?:stage\d+|features)\.(\d+)\.(weight|bias)")
_IGNORED = re.compile(
    r"stage\d+\.\d+\.filter|mean|std|classifier\..*"
)  # constants of the code; unused layers


class SmoothVGG(nn.Module):
    """Image in [0, 1] -> the image itself and five feature maps."""

    @nn.compact
    def __call__(self, x) -> list[Array]:
        taps = [x]
        x = (x - jnp.asarray(MEAN)) / jnp.asarray(DEVIATION)
        for index, stage in enumerate(STAGES):
            x = _smooth_pool(x) if index else x
            for layer in stage:
                if isinstance(layer, Conv):
                    x = nn.relu(
                        nn.Conv(layer.channels, (3, 3), name=f"features_{layer.index}")(
                            x
                        )
                    )
            taps.append(x)
        return taps


def dists(
    params: Params, x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Distance of image pairs in [-1, 1]; 0 for equal images. `params` from
    `load_dists`.
    """
    x, y = (jnp.asarray(image, jnp.float32) / 2 + 0.5 for image in (x, y))
    taps = SmoothVGG().apply({"params": params["net"]}, jnp.concatenate([x, y]))
    similarity, start = jnp.zeros(len(x)), 0
    for features in jax.tree.leaves(taps):
        stop = start + features.shape[-1]
        texture, structure = _similarities(*jnp.split(features, 2))
        similarity += (
            texture @ params["alpha"][start:stop]
            + structure @ params["beta"][start:stop]
        )
        start = stop
    return 1 - similarity / (params["alpha"].sum() + params["beta"].sum())


def _similarities(
    x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
) -> tuple[Array, Array]:
    mean_x, mean_y = x.mean((1, 2)), y.mean((1, 2))
    variances = x.var((1, 2)) + y.var((1, 2))
    covariance = ((x - mean_x[:, None, None]) * (y - mean_y[:, None, None])).mean(
        (1, 2)
    )
    texture = (2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6)
    return texture, (2 * covariance + 1e-6) / (variances + 1e-6)


def _smooth_pool(x: Float[Array, "b h w c"]) -> Array:
    """Root of the Hann-weighted local energy, stride 2."""
    taps = np.hanning(5)[1:-1]
    kernel = jnp.asarray(np.outer(taps, taps) / taps.sum() ** 2, jnp.float32)
    kernel = jnp.broadcast_to(kernel[:, :, None, None], (3, 3, 1, x.shape[-1]))
    numbers = ("NHWC", "HWIO", "NHWC")
    energy = jax.lax.conv_general_dilated(
        x**2,
        kernel,
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=numbers,
        feature_group_count=x.shape[-1],
    )
    return jnp.sqrt(energy + 1e-12)


def load_dists(path: str | Path) -> Params:
    """Params of `dists` from a safetensors file of the authors' state dict."""
    return convert_dists(load_file(path))


def convert_dists(state: Mapping[str, np.ndarray]) -> Params:
    """Authors' state dict -> params; a ValueError names everything missing, unknown or
    misshapen.
    """
    net: dict[str, dict[str, np.ndarray]] = {}
    faults = []
    for name, value in state.items():
        if match := _CONV.fullmatch(name):
            leaf = "kernel" if match[2] == "weight" else "bias"
            net.setdefault(f"features_{match[1]}", {})[leaf] = (
                value.T.swapaxes(0, 1) if value.ndim == 4 else value
            )
        elif name not in ("alpha", "beta") and not _IGNORED.fullmatch(name):
            faults.append(f"unknown {name}")
    weights = {
        name: np.ravel(state[name]) for name in ("alpha", "beta") if name in state
    }
    faults += _faults({"net": net, **weights})
    if faults:
        raise ValueError(f"not a DISTS state dict: {'; '.join(sorted(faults))}")
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), {"net": net, **weights})


def _faults(found: Params) -> list[str]:
    image = jnp.zeros((1, 32, 32, 3))
    expected: Params = {
        "net": jax.eval_shape(SmoothVGG().init, jax.random.key(0), image)["params"]
    }
    expected |= {
        name: jax.ShapeDtypeStruct((NUM_CHANNELS,), jnp.float32)
        for name in ("alpha", "beta")
    }
    shapes = [
        {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(t)}
        for t in (found, expected)
    ]
    have, want = shapes
    names = sorted(have.keys() | want.keys())
    return [
        f"{n} is {have.get(n)}, expected {want.get(n)}"
        for n in names
        if have.get(n) != want.get(n)
    ]
