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
        self.convnormrelu = _conv_norm(c, 7, 2, self.batch_norm, self.dtype)
        self.layer1 = self._stage(c, 1)
        self.layer2 = self._stage(c * 3 // 2, 2)
        self.layer3 = self._stage(c * 2, 2)
        self.conv = conv(c * 4, 1, dtype=self.dtype)

    def _stage(self, channels: int, stride: int) -> list["ResidualBlock"]:
        first = ResidualBlock(channels, stride, self.batch_norm, self.dtype)
        second = ResidualBlock(channels, 1, self.batch_norm, self.dtype)
        return [first, second]

    def __call__(self, image: Float[Array, "b H W 3"]) -> Features:
        """Returns features [b, H/8, W/8, 4 * channels]."""
        x = nn.relu(_normalised(self.convnormrelu, image))
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
        y = nn.relu(_normalised(self.convnormrelu1, x))
        y = nn.relu(_normalised(self.convnormrelu2, y))
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
        mean = self.param("running_mean", zeros, shape)
        variance = self.param("running_var", ones, shape)
        scale = self.param("scale", ones, shape)
        bias = self.param("bias", zeros, shape)
        gain = scale * jax.lax.rsqrt(variance + EPSILON)
        y = (x - mean) * gain + bias
        return y.astype(x.dtype)


def instance_norm(x: Features) -> Features:
    """Zero mean and unit variance over each channel's pixels."""
    # statistics of a frame's pixels would be rounded away in 16 bits
    y = x.astype(jnp.float32)
    y = y - y.mean((1, 2), keepdims=True)
    variance = jnp.square(y).mean((1, 2), keepdims=True)
    y = y * jax.lax.rsqrt(variance + EPSILON)
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
    return norms[0](x)
