"""The conditional denoising U-Net (SD x4-upscaler layout, 7 input channels as
published).
"""

import flax.linen as nn

from sdvsr_jax.models.blocks import ConditionedBlock, Encoder, UpBlock, skip_channels
from sdvsr_jax.models.layers import norm
from sdvsr_jax.models.linear import conv
from sdvsr_jax.ops.resize import depth_to_space
from sdvsr_jax.types import Array, Features, Float, Latents, LRFrame, PyTree


class UNet(Encoder):
    """Predicts v from noisy latents and the LR image at latent resolution."""

    def setup(self) -> None:
        super().setup()
        c = self.config
        skips = skip_channels(c)
        widths = c.block_channels[::-1]
        attention = c.attention[::-1]
        num_layers = c.layers_per_block + 1
        last = len(widths) - 1
        self.up_blocks = [
            UpBlock(
                in_channels=widths[max(i - 1, 0)],
                channels=width,
                skip_channels=tuple(skips.pop() for _ in range(num_layers)),
                attention=attention[i],
                is_last=i == last,
                config=c,
                dtype=self.dtype,
            )
            for i, width in enumerate(widths)
        ]
        num_values = c.latent_channels * c.patch**2
        self.conv_norm_out = norm(
            c.norm,
            c.num_groups,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        self.conv_out = conv(num_values, dtype=self.dtype)

    def conditioned_blocks(self) -> list[ConditionedBlock]:
        return [*super().conditioned_blocks(), *self.up_blocks]

    def __call__(
        self,
        latents: Latents,
        image: LRFrame,
        time_shifts: Float[Array, "n d"],
        prompt: PyTree,
        residuals: tuple[list[Features], Features] | None = None,
    ) -> Latents:
        """Returns v [b, h, w, latent channels].

        ``time_shifts`` of one timestep for all rows (n = 1) or of one each (n = b);
        ``residuals`` of the guidance: one per skip, and one for the mid output.
        """
        shifts = self.split_shifts(time_shifts)
        # the image has no added noise and no noise level, unlike the x4 upscaler's
        x = self.embed(latents, image)
        x, skips = self.encode(x, shifts, prompt)
        if residuals is not None:
            # they reach the up path only; the down path itself is unchanged
            of_skips, of_mid = residuals
            pairs = zip(skips, of_skips)
            skips = [skip + residual for skip, residual in pairs]
            x = x + of_mid
        # constants are in the order of the blocks: down, mid, up
        first = len(self.down_blocks) + 1
        for i, block in enumerate(self.up_blocks, first):
            x = block(x, skips, shifts[i], prompt[i])
        x = self.conv_norm_out(x)
        x = nn.silu(x)
        v = self.conv_out(x)
        return depth_to_space(v, self.config.patch)
