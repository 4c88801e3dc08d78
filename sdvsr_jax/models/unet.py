"""The conditional denoising U-Net (SD x4-upscaler layout, 7 input channels as
published).
"""

import flax.linen as nn

from sdvsr_jax.models.blocks import Encoder, UpBlock, skip_channels
from sdvsr_jax.models.layers import norm
from sdvsr_jax.models.linear import conv
from sdvsr_jax.ops.resize import unfold
from sdvsr_jax.types import Array, Features, Float, Latents, LRFrame, PyTree


class UNet(Encoder):
    """Predicts v from noisy latents and the LR image at latent resolution."""

    def setup(self) -> None:
        super().setup()
        c = self.config
        skips = skip_channels(c)
        widths = c.block_channels[::-1]
        count = c.layers_per_block + 1
        self.up_blocks = [
            UpBlock(
                in_channels=widths[max(i - 1, 0)],
                channels=width,
                skip_channels=tuple(skips.pop() for _ in range(count)),
                attention=c.attention[::-1][i],
                is_last=i == len(widths) - 1,
                config=c,
                dtype=self.dtype,
            )
            for i, width in enumerate(widths)
        ]
        self.conv_norm_out = norm(c.norm, c.num_groups, 1e-5, self.dtype)
        self.conv_out = conv(c.latent_channels * c.patch**2, dtype=self.dtype)

    def fold_time(self, timesteps: Array) -> PyTree:
        embedding = self.time_embedding(timesteps)
        up = tuple(block.fold_time(embedding) for block in self.up_blocks)
        return super().fold_time(timesteps) | {"up": up}

    def fold_text(self, text: Float[Array, "b t d"]) -> PyTree:
        return super().fold_text(text) | {
            "up": tuple(block.fold_text(text) for block in self.up_blocks)
        }

    def __call__(
        self,
        latents: Latents,
        image: LRFrame,
        time: PyTree,
        text: PyTree,
        residuals: tuple[list[Features], Features] | None = None,
    ) -> Latents:
        """v [b, h, w, latent channels]; ``residuals`` = (one per skip, one for the mid
        output), from guidance.
        """
        x, skips = self.encode(self.embed(latents, image), time, text)
        if residuals is not None:
            # They reach the up path only; the down path itself is unchanged.
            skips = [skip + r for skip, r in zip(skips, residuals[0])]
            x = x + residuals[1]
        for i, block in enumerate(self.up_blocks):
            x = block(x, skips, time["up"][i], text["up"][i])
        x = self.conv_out(nn.silu(self.conv_norm_out(x)))
        return unfold(x, self.config.patch)
