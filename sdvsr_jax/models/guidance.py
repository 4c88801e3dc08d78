"""Auto-regressive temporal guidance (ARTG): a ControlNet on the warped previous SR
frame.
"""

import itertools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.config import GuidanceConfig
from sdvsr_jax.models.blocks import Encoder, skip_channels
from sdvsr_jax.models.linear import conv
from sdvsr_jax.ops.resize import fold
from sdvsr_jax.types import Features, Latents, LRFrame, Mask, PyTree, SRFrame


class ConditionEmbedding(nn.Module):
    """SR-sized condition image -> features at the (folded) latent resolution; conv_out
    starts at zero.
    """

    guidance: GuidanceConfig
    out_channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        widths = self.guidance.condition_channels
        self.conv_in = conv(widths[0], dtype=self.dtype)
        self.blocks = [
            block
            for now, after in itertools.pairwise(widths)
            for block in (
                conv(now, dtype=self.dtype),
                conv(after, stride=2, dtype=self.dtype),
            )
        ]
        self.conv_out = conv(self.out_channels, zero=True, dtype=self.dtype)

    def __call__(self, image: SRFrame, validity: Mask) -> Features:
        if self.guidance.mask_channel:
            image = jnp.concatenate([image, validity.astype(image.dtype)], -1)
        x = nn.silu(
            self.conv_in(fold(image.astype(self.dtype), self.guidance.condition_fold))
        )
        for block in self.blocks:
            x = nn.silu(block(x))
        return self.conv_out(x)


class ControlNet(Encoder):
    """A copy of the U-Net's encoder half whose skips become residuals, by 1x1
    convolutions that start at zero.
    """

    guidance: GuidanceConfig = GuidanceConfig()

    def setup(self) -> None:
        super().setup()
        c = self.config
        self.controlnet_cond_embedding = ConditionEmbedding(
            self.guidance, c.block_channels[0], self.dtype
        )
        self.controlnet_down_blocks = [
            conv(w, kernel=1, zero=True, dtype=self.dtype) for w in skip_channels(c)
        ]
        self.controlnet_mid_block = conv(
            c.block_channels[-1], kernel=1, zero=True, dtype=self.dtype
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
        time: PyTree,
        text: PyTree,
    ) -> tuple[list[Features], Features]:
        """Residuals for the U-Net's skips (conv_in's included) and for its mid output."""
        mid, skips = self.encode(self.embed(latents, image) + condition, time, text)
        residuals = [
            block(skip) for block, skip in zip(self.controlnet_down_blocks, skips)
        ]
        return residuals, self.controlnet_mid_block(mid)
