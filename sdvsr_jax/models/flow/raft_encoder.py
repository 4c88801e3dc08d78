"""RAFT's encoders: an image to features at 1/8 size, in the parameter layout of
torchvision.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sdvsr_jax.models.linear import conv
from sdvsr_jax.types import Array, Features


class Encoder(nn.Module):
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
        return [
            ResidualBlock(channels, s, self.batch_norm, self.dtype) for s in (stride, 1)
        ]

    def __call__(self, x: Array) -> Features:
        x = nn.relu(_normalised(self.convnormrelu, x))
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
        self.convnormrelu1 = _conv_norm(
            self.channels, 3, self.stride, self.batch_norm, self.dtype
        )
        self.convnormrelu2 = _conv_norm(
            self.channels, 3, 1, self.batch_norm, self.dtype
        )
        if self.stride > 1:
            self.downsample = _conv_norm(
                self.channels, 1, self.stride, self.batch_norm, self.dtype
            )

    def __call__(self, x: Array) -> Array:
        y = nn.relu(_normalised(self.convnormrelu1, x))
        y = nn.relu(_normalised(self.convnormrelu2, y))
        return nn.relu(y + (_normalised(self.downsample, x) if self.stride > 1 else x))


class BatchNorm(nn.Module):
    """Normalisation by stored statistics."""

    channels: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        zeros, ones, shape = (
            nn.initializers.zeros,
            nn.initializers.ones,
            (self.channels,),
        )
        mean, variance = (
            self.param("running_mean", zeros, shape),
            self.param("running_var", ones, shape),
        )
        gain = self.param("scale", ones, shape) * jax.lax.rsqrt(variance + 1e-5)
        return ((x - mean) * gain + self.param("bias", zeros, shape)).astype(x.dtype)


def instance_norm(x: Features) -> Features:
    """Zero mean and unit variance over each channel's pixels."""
    y = x.astype(jnp.float32)
    y = y - y.mean((1, 2), keepdims=True)
    return (y * jax.lax.rsqrt(jnp.square(y).mean((1, 2), keepdims=True) + 1e-5)).astype(
        x.dtype
    )


def _conv_norm(
    channels: int, kernel: int, stride: int, batch_norm: bool, dtype: Any
) -> list[nn.Module]:
    """A convolution and, where it has parameters, its norm: instance norm has none."""
    layer = conv(channels, kernel, stride, dtype=dtype)
    return [layer, BatchNorm(channels)] if batch_norm else [layer]


def _normalised(layers: Any, x: Array) -> Array:
    x = layers[0](x)
    return layers[1](x) if len(layers) > 1 else instance_norm(x)
