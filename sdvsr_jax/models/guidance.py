"""Auto-regressive temporal guidance (ARTG): a ControlNet on the warped previous SR
frame.
"""

import itertools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.config import GuidanceConfig
from sdvsr_jax.models.blocks import Encoder, skip_channels
from sdvsr_jax.models.linear import Conv, conv
from sdvsr_jax.ops.resize import space_to_depth
from sdvsr_jax.types import (
    Array,
    Features,
    Float,
    Latents,
    LRFrame,
    Mask,
    PyTree,
    SRFrame,
)


class ConditionEmbedding(nn.Module):
    """SR-sized condition image -> features at the resolution of the latents' patches;
    conv_out starts at zero.
    """

    guidance: GuidanceConfig
    out_channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        widths = self.guidance.condition_channels
        self.conv_in = conv(widths[0], dtype=self.dtype)
        blocks = []
        for now, after in itertools.pairwise(widths):
            blocks.append(conv(now, dtype=self.dtype))
            blocks.append(conv(after, stride=2, dtype=self.dtype))
        self.blocks = blocks
        self.conv_out = conv(self.out_channels, zero=True, dtype=self.dtype)

    def __call__(self, image: SRFrame, validity: Mask) -> Features:
        if self.guidance.mask_channel:
            validity = validity.astype(image.dtype)
            image = jnp.concatenate([image, validity], -1)
        x = image.astype(self.dtype)
        x = space_to_depth(x, self.guidance.condition_fold)
        x = self.conv_in(x)
        x = nn.silu(x)
        for block in self.blocks:
            x = block(x)
            x = nn.silu(x)
        return self.conv_out(x)


class ControlNet(Encoder):
    """A copy of the U-Net's encoder half whose skips become residuals, by 1x1
    convolutions that start at zero.
    """

    guidance: GuidanceConfig = GuidanceConfig()

    def setup(self) -> None:
        super().setup()
        first = self.config.block_channels[0]
        last = self.config.block_channels[-1]
        self.controlnet_cond_embedding = ConditionEmbedding(
            self.guidance,
            first,
            self.dtype,
        )
        self.controlnet_down_blocks = [
            self._zero_conv(width) for width in skip_channels(self.config)
        ]
        self.controlnet_mid_block = self._zero_conv(last)

    def _zero_conv(self, width: int) -> Conv:
        # zero, so that a fresh copy does not disturb the U-Net it guides
        return conv(
            width,
            kernel=1,
            zero=True,
            dtype=self.dtype,
        )

    def embed_condition(self, image: SRFrame, validity: Mask) -> Features:
        """Does not depend on latents or timestep: once per frame. The image is in [-1,
        1], validity in [0, 1].
        """
        return self.controlnet_cond_embedding(image, validity)

    def __call__(
        self,
        latents: Latents,
        image: LRFrame,
        condition: Features,
        time_shifts: Float[Array, "n d"],
        prompt: PyTree,
    ) -> tuple[list[Features], Features]:
        """Residuals for the U-Net's skips (also of conv_in) and for its mid output."""
        x = self.embed(latents, image)
        # behind the first convolution: the first skip holds the condition already
        x = x + condition
        shifts = self.split_shifts(time_shifts)
        mid, skips = self.encode(x, shifts, prompt)
        pairs = zip(self.controlnet_down_blocks, skips)
        of_skips = [block(skip) for block, skip in pairs]
        of_mid = self.controlnet_mid_block(mid)
        return of_skips, of_mid
