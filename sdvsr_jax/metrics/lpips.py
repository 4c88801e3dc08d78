"""LPIPS, the learned perceptual distance (Zhang et al., CVPR 2018, v0.1).

Differentiable and float32. Over the taps l of a trunk:

    d(x, y) = sum_l mean_hw sum_c w_lc (x_lc / |x_l| - y_lc / |y_l|)^2

Three trunks: SqueezeNet 1.1 (weights shipped), AlexNet and VGG16 (the user's file).
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sdvsr_jax.types import Params

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet's R, G and B on [-1, 1], as the authors round them."""
MIN_SIZE = 32
"""Smallest side that leaves every trunk at least one position at its last tap."""


class Conv(NamedTuple):
    index: int
    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class Fire(NamedTuple):
    index: int
    squeeze: int
    expand: int


class Pool(NamedTuple):
    size: int
    ceil: bool = False


TRUNKS: dict[str, tuple[tuple[Conv | Fire | Pool, ...], ...]] = {
    "squeeze": (
        (Conv(0, 64, stride=2, padding=0),),
        (Pool(3, ceil=True), Fire(3, 16, 64), Fire(4, 16, 64)),
        (Pool(3, ceil=True), Fire(6, 32, 128), Fire(7, 32, 128)),
        (Pool(3, ceil=True), Fire(9, 48, 192)),
        (Fire(10, 48, 192),),
        (Fire(11, 64, 256),),
        (Fire(12, 64, 256),),
    ),
    "alex": (
        (Conv(0, 64, kernel=11, stride=4, padding=2),),
        (Pool(3), Conv(3, 192, kernel=5, padding=2)),
        (Pool(3), Conv(6, 384)),
        (Conv(8, 256),),
        (Conv(10, 256),),
    ),
    "vgg16": (
        (Conv(0, 64), Conv(2, 64)),
        (Pool(2), Conv(5, 128), Conv(7, 128)),
        (Pool(2), Conv(10, 256), Conv(12, 256), Conv(14, 256)),
        (Pool(2), Conv(17, 512), Conv(19, 512), Conv(21, 512)),
        (Pool(2), Conv(24, 512), Conv(26, 512), Conv(28, 512)),
    ),
}
"""Layers between two taps; the index is torchvision's `features.<index>`."""


class FireModule(nn.Module):
    """SqueezeNet's block: a narrow 1x1, then 1x1 and 3x3 side by side."""

    squeeze_channels: int
    expand_channels: int

    def setup(self):
        self.squeeze = nn.Conv(self.squeeze_channels, (1, 1))
        self.expand1x1 = nn.Conv(self.expand_channels, (1, 1))
        self.expand3x3 = nn.Conv(self.expand_channels, (3, 3), padding=1)

    def __call__(self, x):
        x = self.squeeze(x)
        x = nn.relu(x)
        narrow = self.expand1x1(x)
        wide = self.expand3x3(x)
        both = jnp.concatenate([narrow, wide], axis=-1)
        return nn.relu(both)


class Trunk(nn.Module):
    """Feature pyramid of one of TRUNKS: [b, H, W, 3] -> [b, h_l, w_l, c_l] per tap."""

    net: str

    @nn.compact
    def __call__(self, x) -> list[Array]:
        taps = []
        for stage in TRUNKS[self.net]:
            for layer in stage:
                x = _apply(layer, x)
            taps.append(x)
        return taps


def _apply(
    layer: Conv | Fire | Pool, x: Float[Array, "b h w c"]
) -> Float[Array, "b h2 w2 c2"]:
    if isinstance(layer, Pool):
        rows = _max_pool(x, layer, 1)
        return _max_pool(rows, layer, 2)
    # torchvision's numbers, so that its state dicts fit
    name = f"features_{layer.index}"
    if isinstance(layer, Fire):
        module = FireModule(layer.squeeze, layer.expand, name=name)
        return module(x)
    conv = nn.Conv(
        layer.channels,
        kernel_size=(layer.kernel, layer.kernel),
        strides=(layer.stride, layer.stride),
        padding=layer.padding,
        name=name,
    )
    x = conv(x)
    return nn.relu(x)


def _max_pool(x: Float[Array, "b h w c"], pool: Pool, axis: int) -> Array:
    """Maxima along one axis, stride 2."""
    rest = x.shape[axis] - pool.size
    steps = rest // 2
    if pool.ceil:
        steps = -(-rest // 2)
    # ceil mode: the last window may hang over the edge by one pixel
    padding = [(0, 0)] * 4
    padding[axis] = (0, 1)
    padded = jnp.pad(x, padding, constant_values=-jnp.inf)
    # slices, because a window reduction's gradient is a slow scatter on CPUs
    slices = []
    for start in range(pool.size):
        stop = start + 2 * steps + 1
        pixels = jax.lax.slice_in_dim(padded, start, stop, 2, axis)
        slices.append(pixels)
    return functools.reduce(jnp.maximum, slices)


def _unit(features: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    # a floor under the root keeps the gradient finite where every channel is zero
    squares = jnp.sum(features**2, axis=-1, keepdims=True)
    length = jnp.sqrt(1e-8 + squares)
    return features / length


def _check(x: Array, net: str) -> None:
    if net not in TRUNKS:
        raise ValueError(f"net {net!r}: expected one of {sorted(TRUNKS)}")
    if x.ndim != 4 or x.shape[-1] != 3:
        raise ValueError(f"images {x.shape}: expected [b, H, W, 3]")
    _, height, width, _ = x.shape
    if min(height, width) < MIN_SIZE:
        raise ValueError(
            f"images {height}x{width}: LPIPS needs at least {MIN_SIZE}x{MIN_SIZE}"
        )


def lpips(
    params: Params,
    x: Float[ArrayLike, "b H W 3"],
    y: Float[ArrayLike, "b H W 3"],
    net: str = "squeeze",
) -> Float[Array, " b"]:
    """Returns the distance per image pair; 0 for equal images.

    Gradients are finite everywhere.

    Args:
      params: from `load_lpips` or `convert_lpips`, of the same `net`.
      x: images in [-1, 1]; values outside are not clamped.
      y: the same shape.
      net: 'squeeze', 'alex' or 'vgg16'.

    Raises:
      ValueError: unknown net, unequal shapes or images under 32x32.
    """
    if np.shape(x) != np.shape(y):
        raise ValueError(
            f"x {np.shape(x)} and y {np.shape(y)}: expected two equal [b, H, W, 3]"
        )
    # x and y apart: where only one of them has a gradient, the other's half of it is
    # not computed
    features_x = lpips_features(params, x, net)
    features_y = lpips_features(params, y, net)
    return lpips_distance(params, features_x, features_y)


def lpips_features(
    params: Params, x: Float[ArrayLike, "b H W 3"], net: str = "squeeze"
) -> list[Float[Array, "b _ _ _"]]:
    """Returns maps of unit vectors, one per tap of the trunk, of images in [-1, 1].

    For an image that is compared with several; `lpips_distance` compares them.
    """
    x = jnp.asarray(x, jnp.float32)
    _check(x, net)
    centred = x - jnp.asarray(SHIFT)
    normal = centred / jnp.asarray(SCALE)
    variables = {"params": params["net"]}
    taps = Trunk(net).apply(variables, normal)
    leaves = jax.tree.leaves(taps)
    return [_unit(features) for features in leaves]


def lpips_distance(
    params: Params,
    features_x: list[Float[Array, "b _ _ _"]],
    features_y: list[Float[Array, "b _ _ _"]],
) -> Float[Array, " b"]:
    """Returns LPIPS of two images from their `lpips_features`."""
    batch = len(features_x[0])
    total = jnp.zeros(batch, jnp.float32)
    pairs = zip(features_x, features_y)
    for index, (tap_x, tap_y) in enumerate(pairs):
        head = params["heads"][f"lin{index}"]
        squares = (tap_x - tap_y) ** 2
        distances = squares @ head
        total += jnp.mean(distances, axis=(1, 2))
    return total
