"""Down, mid and up blocks, and the encoder half that the U-Net and the guidance branch
have in common.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.config import Attention, UNetConfig
from sdvsr_jax.models.layers import (
    Downsample,
    ResnetBlock,
    TimestepEmbedding,
    Transformer,
    Upsample,
)
from sdvsr_jax.models.linear import conv
from sdvsr_jax.ops.resize import fold
from sdvsr_jax.types import Array, Features, Float, Latents, LRFrame, PyTree


class Folded(nn.Module):
    """Something with ``resnets`` and ``attentions``: folds the constants of both, in
    order.
    """

    def fold_time(self, embedding: Float[Array, "n d"]) -> PyTree:
        return tuple(resnet.fold_time(embedding) for resnet in self.resnets)

    def fold_text(self, text: Float[Array, "b t d"]) -> PyTree:
        return tuple(attention.fold_text(text) for attention in self.attentions)


class DownBlock(Folded):
    """ResNets (each followed by a transformer where configured), then a stride-2
    convolution unless last.
    """

    in_channels: int
    channels: int
    attention: Attention
    is_last: bool
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        layers = self.config.layers_per_block
        widths = [self.in_channels] + [self.channels] * layers
        self.resnets = [
            ResnetBlock(w, self.channels, self.config, self.dtype) for w in widths[:-1]
        ]
        self.attentions = _transformers(
            layers, self.channels, self.config, self.attention, self.dtype
        )
        self.downsamplers = (
            [] if self.is_last else [Downsample(self.channels, self.dtype)]
        )

    def __call__(
        self, x: Features, time: PyTree, text: PyTree
    ) -> tuple[Features, list[Features]]:
        """(output, skips): a skip behind every ResNet and behind the downsampler."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, time[i])
            if self.attentions:
                x = self.attentions[i](x, text[i])
            skips.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            skips.append(x)
        return x, skips


class MidBlock(Folded):
    """ResNet, transformer (where configured), ResNet at the lowest resolution."""

    channels: int
    attention: Attention
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        self.resnets = [
            ResnetBlock(self.channels, self.channels, self.config, self.dtype)
            for _ in range(2)
        ]
        self.attentions = _transformers(
            1, self.channels, self.config, self.attention, self.dtype
        )

    def __call__(self, x: Features, time: PyTree, text: PyTree) -> Features:
        x = self.resnets[0](x, time[0])
        for attention, keys_values in zip(self.attentions, text):
            x = attention(x, keys_values)
        return self.resnets[1](x, time[1])


class UpBlock(Folded):
    """ResNets, each on the concatenation with a skip, then upsampling to the next
    skip's size unless last.
    """

    in_channels: int
    channels: int
    skip_channels: tuple[int, ...]
    attention: Attention
    is_last: bool
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        inputs = [self.in_channels] + [self.channels] * (len(self.skip_channels) - 1)
        self.resnets = [
            ResnetBlock(i + s, self.channels, self.config, self.dtype)
            for i, s in zip(inputs, self.skip_channels)
        ]
        self.attentions = _transformers(
            len(inputs), self.channels, self.config, self.attention, self.dtype
        )
        self.upsamplers = [] if self.is_last else [Upsample(self.channels, self.dtype)]

    def __call__(
        self, x: Features, skips: list[Features], time: PyTree, text: PyTree
    ) -> Features:
        """Takes its skips from the end of the list."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(jnp.concatenate([x, skips.pop()], -1), time[i])
            if self.attentions:
                x = self.attentions[i](x, text[i])
        for upsampler in self.upsamplers:
            x = upsampler(x, *skips[-1].shape[1:3])
        return x


class Encoder(nn.Module):
    """conv_in, time embedding, down blocks and mid block: the half that ControlNet
    copies from the U-Net.
    """

    config: UNetConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        widths = (c.block_channels[0], *c.block_channels)
        last = len(c.block_channels) - 1
        self.conv_in = conv(c.block_channels[0], dtype=self.dtype)
        self.time_embedding = TimestepEmbedding(c.block_channels[0])
        self.down_blocks = [
            DownBlock(
                widths[i], widths[i + 1], c.attention[i], i == last, c, self.dtype
            )
            for i in range(last + 1)
        ]
        self.mid_block = MidBlock(widths[-1], c.attention[-1], c, self.dtype)

    def fold_time(self, timesteps: Array) -> PyTree:
        """Constants of n timesteps, leading axis n; `encode` takes slices with leading
        axis 1 (or b).
        """
        embedding = self.time_embedding(timesteps)
        down = tuple(block.fold_time(embedding) for block in self.down_blocks)
        return {"down": down, "mid": self.mid_block.fold_time(embedding)}

    def fold_text(self, text: Float[Array, "b t d"]) -> PyTree:
        """Keys and values of the prompt in every transformer."""
        down = tuple(block.fold_text(text) for block in self.down_blocks)
        return {"down": down, "mid": self.mid_block.fold_text(text)}

    def embed(self, latents: Latents, image: LRFrame) -> Features:
        """Latents first, then the LR image (order matters to the checkpoint), folded to
        patches.
        """
        x = jnp.concatenate([latents, image.astype(latents.dtype)], -1).astype(
            self.dtype
        )
        return self.conv_in(fold(x, self.config.patch))

    def encode(
        self, x: Features, time: PyTree, text: PyTree
    ) -> tuple[Features, list[Features]]:
        """(mid output, skips), the first skip being x itself."""
        skips = [x]
        for i, block in enumerate(self.down_blocks):
            x, more = block(x, time["down"][i], text["down"][i])
            skips += more
        return self.mid_block(x, time["mid"], text["mid"]), skips


def skip_channels(config: UNetConfig) -> list[int]:
    """Channels of the skips in the order in which `Encoder.encode` returns them."""
    widths = [config.block_channels[0]]
    for i, channels in enumerate(config.block_channels):
        is_last = i == len(config.block_channels) - 1
        widths += [channels] * (config.layers_per_block + (not is_last))
    return widths


def _transformers(
    count: int, channels: int, config: UNetConfig, kind: Attention, dtype: DTypeLike
) -> list:
    return (
        []
        if kind == "none"
        else [Transformer(channels, config, kind, dtype) for _ in range(count)]
    )
