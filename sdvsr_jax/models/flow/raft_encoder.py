"""RAFT's encoders: an image to features at 1/8 size, in the parameter layout of
torchvision.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sdvsr_jax.models.linear import conv
from sdvsr_jax.types import Array, Features, Float

# torch's, of both norms; the trained weights depend on it (docs/parity.md).
EPSILON = 1e-5


class FeatureEncoder(nn.Module):
    """An image to features at 1/8 size."""

    channels: int
    batch_norm: bool
    dtype: Any = jnp.float32

    def setup(self) -> None:
        c = self.channels
        # 64, 96, 128 and 256 in RAFT-large
        second_width = c * 3 // 2
        third_width = c * 2
        self.convnormrelu = _conv_norm(
            c,
            kernel=7,
            stride=2,
            batch_norm=self.batch_norm,
            dtype=self.dtype,
        )
        self.layer1 = self._stage(c, 1)
        self.layer2 = self._stage(second_width, 2)
        self.layer3 = self._stage(third_width, 2)
        self.conv = conv(c * 4, kernel=1, dtype=self.dtype)

    def _stage(self, channels: int, stride: int) -> list["ResidualBlock"]:
        # only the first makes the image smaller
        strides = (stride, 1)
        return [
            ResidualBlock(
                channels,
                stride=block_stride,
                batch_norm=self.batch_norm,
                dtype=self.dtype,
            )
            for block_stride in strides
        ]

    def __call__(self, image: Float[Array, "b H W 3"]) -> Features:
        """Returns features [b, H/8, W/8, 4 * channels]."""
        x = _normalised(self.convnormrelu, image)
        x = nn.relu(x)
        for block in (*self.layer1, *self.layer2, *self.layer3):
            x = block(x)
        return self.conv(x)


class ResidualBlock(nn.Module):
    """Two convolutions and a skip, which is a strided 1x1 convolution where the size
    changes.
    """

    channels: int
    stride: int
    batch_norm: bool
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convnormrelu1 = self._conv_norm(3, self.stride)
        self.convnormrelu2 = self._conv_norm(3, 1)
        if self.stride > 1:
            self.downsample = self._conv_norm(1, self.stride)

    def _conv_norm(self, kernel: int, stride: int) -> list[nn.Module]:
        return _conv_norm(self.channels, kernel, stride, self.batch_norm, self.dtype)

    def __call__(self, x: Features) -> Features:
        y = _normalised(self.convnormrelu1, x)
        y = nn.relu(y)
        y = _normalised(self.convnormrelu2, y)
        y = nn.relu(y)
        if self.stride > 1:
            x = _normalised(self.downsample, x)
        # a ReLU before the sum and one after it, as torchvision has it (docs/parity.md)
        return nn.relu(y + x)


class BatchNorm(nn.Module):
    """Normalisation by stored statistics."""

    channels: int

    @nn.compact
    def __call__(self, x: Features) -> Features:
        zeros = nn.initializers.zeros
        ones = nn.initializers.ones
        shape = (self.channels,)
        # leaves of the one tree of parameters, not a collection of flax's own
        mean = self.param("running_mean", zeros, shape)
        variance = self.param("running_var", ones, shape)
        scale = self.param("scale", ones, shape)
        bias = self.param("bias", zeros, shape)
        gain = scale * jax.lax.rsqrt(variance + EPSILON)
        distance = x - mean
        y = distance * gain + bias
        return y.astype(x.dtype)


def instance_norm(x: Features) -> Features:
    """Zero mean and unit variance over each channel's pixels."""
    # statistics of a frame's pixels would be rounded away in 16 bits
    y = x.astype(jnp.float32)
    mean = y.mean((1, 2), keepdims=True)
    y = y - mean
    squares = jnp.square(y)
    variance = squares.mean((1, 2), keepdims=True)
    gain = jax.lax.rsqrt(variance + EPSILON)
    y = y * gain
    return y.astype(x.dtype)


def _conv_norm(
    channels: int, kernel: int, stride: int, batch_norm: bool, dtype: Any
) -> list[nn.Module]:
    """A convolution and, where it has parameters, its norm: instance norm has none."""
    layers: list[nn.Module] = [conv(channels, kernel, stride, dtype=dtype)]
    if batch_norm:
        layers.append(BatchNorm(channels))
    return layers


def _normalised(layers: Any, x: Array) -> Array:
    conv, *norms = layers
    x = conv(x)
    if not norms:
        return instance_norm(x)
    (norm,) = norms
    return norm(x)
