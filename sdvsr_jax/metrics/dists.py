"""DISTS, deep image structure and texture similarity (Ding et al. 2020).

VGG16 with smooth pooling; of every channel the global means (texture) and covariances
(structure) are compared like SSIM does, the weights alpha and beta are learned. The
weights are the user's own file: save `DISTS().state_dict()` of the authors' package
with `safetensors.torch.save_file`.
"""

import functools
import re
from collections.abc import Iterator, Mapping
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
# Both constants are the authors': flat channels are equal, and the gradient of the
# root is finite.
SIMILARITY_FLOOR = 1e-6
ENERGY_FLOOR = 1e-12

_CONV = re.compile(r"(?:stage\d+|features)\.(\d+)\.(weight|bias)")
_IGNORED = re.compile(
    r"stage\d+\.\d+\.filter|mean|std|classifier\..*"
)  # constants of the code; unused layers


class SmoothVGG(nn.Module):
    """Image [b, H, W, 3] in [0, 1] -> the image itself and five feature maps."""

    @nn.compact
    def __call__(self, x) -> list[Array]:
        # the image too: colours alone are compared at its tap
        taps = [x]
        centred = x - jnp.asarray(MEAN)
        x = centred / jnp.asarray(DEVIATION)
        for index, stage in enumerate(STAGES):
            # in the place of VGG's own pooling, which the loop below leaves out
            if index > 0:
                x = _smooth_pool(x)
            for layer in stage:
                if isinstance(layer, Conv):
                    name = f"features_{layer.index}"
                    conv = nn.Conv(layer.channels, (3, 3), name=name)
                    x = conv(x)
                    x = nn.relu(x)
            taps.append(x)
        return taps


def dists(
    params: Params, x: Float[ArrayLike, "b H W 3"], y: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Returns the distance of image pairs in [-1, 1]; 0 for equal images.

    Args:
      params: from `load_dists`.
    """
    x = jnp.asarray(x)
    y = jnp.asarray(y)
    batch = len(x)
    images = jnp.concatenate([x, y])
    images = images.astype(jnp.float32)
    unit_images = images / 2 + 0.5
    variables = {"params": params["net"]}
    taps = SmoothVGG().apply(variables, unit_images)
    alpha = params["alpha"]
    beta = params["beta"]
    similarity = jnp.zeros(batch)
    # alpha and beta hold the weights of all taps, one behind the other
    start = 0
    for features in jax.tree.leaves(taps):
        num_channels = features.shape[-1]
        stop = start + num_channels
        channels = slice(start, stop)
        features_x, features_y = jnp.split(features, 2)
        texture, structure = _similarities(features_x, features_y)
        of_texture = texture @ alpha[channels]
        of_structure = structure @ beta[channels]
        similarity += of_texture + of_structure
        start = stop
    largest = alpha.sum() + beta.sum()
    return 1 - similarity / largest


def _similarities(
    x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
    """Returns the similarities of texture and of structure of every channel."""
    mean_x = x.mean((1, 2))
    mean_y = y.mean((1, 2))
    variance_x = x.var((1, 2))
    variance_y = y.var((1, 2))
    variances = variance_x + variance_y
    centred_x = x - mean_x[:, None, None]
    centred_y = y - mean_y[:, None, None]
    products = centred_x * centred_y
    covariance = products.mean((1, 2))
    squares = mean_x**2 + mean_y**2
    texture = _quotient(2 * mean_x * mean_y, squares)
    structure = _quotient(2 * covariance, variances)
    return texture, structure


def _quotient(product: Array, squares: Array) -> Array:
    """1 for equal and for flat channels."""
    numerator = product + SIMILARITY_FLOOR
    denominator = squares + SIMILARITY_FLOOR
    return numerator / denominator


def _smooth_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Returns the root of the Hann-weighted local energy, stride 2."""
    channels = x.shape[-1]
    # of five, because the window's first and last are 0
    hann = np.hanning(5)
    taps = hann[1:-1]
    products = np.outer(taps, taps)
    window = products / taps.sum() ** 2
    kernel = jnp.asarray(window, jnp.float32)
    kernel = kernel[:, :, None, None]
    padding = (1, 1)
    energy = jax.lax.conv_general_dilated(
        x**2,
        jnp.broadcast_to(kernel, (3, 3, 1, channels)),
        window_strides=(2, 2),
        padding=(padding, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
    return jnp.sqrt(energy + ENERGY_FLOOR)


def load_dists(path: str | Path) -> Params:
    """Returns the params of `dists` from the authors' state dict as safetensors."""
    return convert_dists(load_file(path))


def convert_dists(state: Mapping[str, np.ndarray]) -> Params:
    """Returns the params of `dists` from the authors' state dict.

    A ValueError names everything missing, unknown or misshapen.
    """
    net: dict[str, dict[str, np.ndarray]] = {}
    params: Params = {"net": net}
    faults = []
    for name, value in state.items():
        match = _CONV.fullmatch(name)
        if match is not None:
            index, kind = match.groups()
            layer = net.setdefault(f"features_{index}", {})
            leaf = "kernel" if kind == "weight" else "bias"
            layer[leaf] = _layout(value)
        elif name in ("alpha", "beta"):
            params[name] = np.ravel(value)
        elif not _IGNORED.fullmatch(name):
            faults.append(f"unknown {name}")
    faults += _shape_faults(params)
    if faults:
        raise ValueError(f"not a DISTS state dict: {'; '.join(sorted(faults))}")
    to_float32 = functools.partial(jnp.asarray, dtype=jnp.float32)
    return jax.tree.map(to_float32, params)


def _layout(value: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO; biases as they are."""
    if value.ndim != 4:
        return value
    return value.transpose(2, 3, 1, 0)


def _shape_faults(params: Params) -> Iterator[str]:
    image = jnp.zeros((1, 32, 32, 3))
    key = jax.random.key(0)
    channels = jax.ShapeDtypeStruct((NUM_CHANNELS,), jnp.float32)
    variables = jax.eval_shape(SmoothVGG().init, key, image)
    net = variables["params"]
    shapes = _shapes(params)
    expected = _shapes({"net": net, "alpha": channels, "beta": channels})
    names = shapes.keys() | expected.keys()
    for name in sorted(names):
        shape = shapes.get(name)
        right_shape = expected.get(name)
        if shape != right_shape:
            yield f"{name} is {shape}, expected {right_shape}"


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        shapes[name] = leaf.shape
    return shapes
