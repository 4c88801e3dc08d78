"""Down, mid and up blocks, and the encoder half that the U-Net and the guidance branch
have in common.
"""

import itertools
from collections.abc import Sequence

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
from sdvsr_jax.ops.resize import space_to_depth
from sdvsr_jax.types import Array, Features, Float, Int, Latents, LRFrame, PyTree

Shifts = Sequence[Float[Array, "n _"]]
"""What one timestep adds in each ResNet of a block; n is 1 or b."""


class ConditionedBlock(nn.Module):
    """A block with ``resnets``, that take a shift each, and ``attentions``, that take
    keys and values of the prompt.
    """

    def precompute_shifts(self, embedding: Float[Array, "n d"]) -> Shifts:
        """Returns a shift per ResNet, for n timesteps."""
        return [resnet.precompute_shift(embedding) for resnet in self.resnets]

    def precompute_prompt(self, text: Float[Array, "b t d"]) -> PyTree:
        """Returns keys and values per transformer."""
        return tuple(block.precompute_prompt(text) for block in self.attentions)


class DownBlock(ConditionedBlock):
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
        num_layers = self.config.layers_per_block
        # only the first ResNet sees another width
        widths = [self.in_channels] + [self.channels] * (num_layers - 1)
        self.resnets = [
            ResnetBlock(
                in_channels=width,
                channels=self.channels,
                config=self.config,
                dtype=self.dtype,
            )
            for width in widths
        ]
        self.attentions = _transformers(self, num_layers)
        self.downsamplers = []
        if not self.is_last:
            self.downsamplers = [Downsample(self.channels, self.dtype)]

    def __call__(
        self, x: Features, shifts: Shifts, prompt: PyTree
    ) -> tuple[Features, list[Features]]:
        """(output, skips): a skip behind every ResNet and behind the downsampler."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, shifts[i])
            if self.attentions:
                x = self.attentions[i](x, prompt[i])
            skips.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            skips.append(x)
        return x, skips


class MidBlock(ConditionedBlock):
    """ResNet, transformer (where configured), ResNet at the lowest resolution."""

    channels: int
    attention: Attention
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        width = self.channels
        self.resnets = [
            ResnetBlock(
                in_channels=width,
                channels=width,
                config=self.config,
                dtype=self.dtype,
            )
            for _ in range(2)
        ]
        self.attentions = _transformers(self, 1)

    def __call__(self, x: Features, shifts: Shifts, prompt: PyTree) -> Features:
        first, second = self.resnets
        x = first(x, shifts[0])
        for attention, keys_values in zip(self.attentions, prompt):
            x = attention(x, keys_values)
        return second(x, shifts[1])


class UpBlock(ConditionedBlock):
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
        num_layers = len(self.skip_channels)
        # only the first ResNet sees another width, apart from the skips
        inputs = [self.in_channels] + [self.channels] * (num_layers - 1)
        self.resnets = [
            ResnetBlock(
                in_channels=width + skip,
                channels=self.channels,
                config=self.config,
                dtype=self.dtype,
            )
            for width, skip in zip(inputs, self.skip_channels)
        ]
        self.attentions = _transformers(self, num_layers)
        self.upsamplers = []
        if not self.is_last:
            self.upsamplers = [Upsample(self.channels, self.dtype)]

    def __call__(
        self, x: Features, skips: list[Features], shifts: Shifts, prompt: PyTree
    ) -> Features:
        """Takes its skips from the end of the list."""
        for i, resnet in enumerate(self.resnets):
            skip = skips.pop()
            both = jnp.concatenate([x, skip], -1)
            x = resnet(both, shifts[i])
            if self.attentions:
                x = self.attentions[i](x, prompt[i])
        for upsampler in self.upsamplers:
            # not always twice as large: a stride rounded odd sizes up
            _, height, width, _ = skips[-1].shape
            x = upsampler(x, height, width)
        return x


class Encoder(nn.Module):
    """conv_in, time embedding, down blocks and mid block: the half that ControlNet
    copies from the U-Net.
    """

    config: UNetConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        first = c.block_channels[0]
        last = len(c.block_channels) - 1
        widths = (first, *c.block_channels)
        self.conv_in = conv(first, dtype=self.dtype)
        self.time_embedding = TimestepEmbedding(first)
        self.down_blocks = [
            DownBlock(
                in_channels=widths[i],
                channels=widths[i + 1],
                attention=c.attention[i],
                is_last=i == last,
                config=c,
                dtype=self.dtype,
            )
            for i in range(last + 1)
        ]
        self.mid_block = MidBlock(
            channels=widths[-1],
            attention=c.attention[-1],
            config=c,
            dtype=self.dtype,
        )

    def conditioned_blocks(self) -> list[ConditionedBlock]:
        """All blocks that depend on timestep and prompt, in the order of their use."""
        return [*self.down_blocks, self.mid_block]

    def precompute_shifts(self, timesteps: Int[Array, " n"]) -> Float[Array, "n d"]:
        """Returns the shifts of all blocks, side by side, for n timesteps."""
        embedding = self.time_embedding(timesteps)
        shifts: list[Array] = []
        for block in self.conditioned_blocks():
            shifts += block.precompute_shifts(embedding)
        # in one array: a GPU takes a timestep's out of it with one kernel a size, and
        # with one kernel each out of an array of each
        return jnp.concatenate(shifts, -1)

    def split_shifts(self, time_shifts: Float[Array, "n d"]) -> list[Shifts]:
        """The inverse: per block, a shift for each of its ResNets."""
        blocks = self.conditioned_blocks()
        widths = [block.channels for block in blocks for _ in block.resnets]
        *ends, _ = itertools.accumulate(widths)
        parts = iter(jnp.split(time_shifts, ends, -1))
        return [[next(parts) for _ in block.resnets] for block in blocks]

    def precompute_prompt(self, text: Float[Array, "b t d"]) -> PyTree:
        """Returns keys and values of the prompt per block."""
        return tuple(
            block.precompute_prompt(text) for block in self.conditioned_blocks()
        )

    def embed(self, latents: Latents, image: LRFrame) -> Features:
        """Latents first, then the LR image (order matters to the checkpoint), folded to
        patches.
        """
        # in the latents' precision: the image may come in another
        image = image.astype(latents.dtype)
        x = jnp.concatenate([latents, image], -1)
        x = x.astype(self.dtype)
        patches = space_to_depth(x, self.config.patch)
        return self.conv_in(patches)

    def encode(
        self, x: Features, shifts: list[Shifts], prompt: PyTree
    ) -> tuple[Features, list[Features]]:
        """(mid output, skips), the first skip being x itself."""
        skips = [x]
        mid = len(self.down_blocks)
        for i, block in enumerate(self.down_blocks):
            x, new_skips = block(x, shifts[i], prompt[i])
            skips += new_skips
        x = self.mid_block(x, shifts[mid], prompt[mid])
        return x, skips


def skip_channels(config: UNetConfig) -> list[int]:
    """Channels of the skips in the order in which `Encoder.encode` returns them."""
    widths = [config.block_channels[0]]
    last = len(config.block_channels) - 1
    for i, channels in enumerate(config.block_channels):
        widths += [channels] * config.layers_per_block
        if i != last:
            widths.append(channels)
    return widths


def _transformers(
    block: DownBlock | MidBlock | UpBlock, count: int
) -> list[Transformer]:
    if block.attention == "none":
        return []
    return [
        Transformer(
            channels=block.channels,
            config=block.config,
            kind=block.attention,
            dtype=block.dtype,
        )
        for _ in range(count)
    ]
