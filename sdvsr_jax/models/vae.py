"""Tiny autoencoder whose decoder blocks take features of the previous frame (temporal
processor modules, TPM).

Layer numbers are the published checkpoint's (TAESD numbering). With ``config.residual``
it codes the difference to the bicubic frame and sees the LR frame as well; its work is
then done on a folded grid.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike

from sdvsr_jax.config import VAEConfig
from sdvsr_jax.models.linear import UpsampledConv, conv
from sdvsr_jax.ops.resize import (
    downsample_bicubic,
    fold,
    mean_pool,
    resize_linear,
    unfold,
    upsample_bicubic,
)
from sdvsr_jax.types import Features, Latents, LRFrame, Mask, SRFrame


class Block(nn.Module):
    """Three 3x3 convolutions and a skip; with features of the previous frame, the TPM
    before the skip.
    """

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv_0, self.conv_2, self.conv_4 = (
            conv(self.channels, dtype=self.dtype) for _ in range(3)
        )

    def __call__(
        self,
        x: Features,
        previous: Features | None = None,
        validity: Mask | None = None,
    ) -> Features:
        h = self.conv_4(nn.relu(self.conv_2(nn.relu(self.conv_0(x)))))
        if previous is not None:
            h = h + self.temporal(h, previous, validity)
        return nn.relu(h + x)


class SequenceBlock(Block):
    """The published TPM: pooled current and previous features laid end to end as one
    raster sequence.
    """

    def setup(self) -> None:
        super().setup()
        self.alpha = self.param("alpha", nn.initializers.constant(0.5), ())
        self.temporal_processor_0 = nn.Conv(
            self.channels, (3,), padding=1, dtype=self.dtype
        )
        self.temporal_processor_2 = nn.Conv(
            self.channels, (3,), padding=1, dtype=self.dtype
        )

    def temporal(self, x: Features, previous: Features, validity: Mask) -> Features:
        now = mean_pool(x, 4)
        sequence = rearrange([now, mean_pool(previous, 4)], "n b h w c -> b (n h w) c")
        sequence = self.temporal_processor_2(
            nn.relu(self.temporal_processor_0(sequence))
        )
        from_now, from_before = rearrange(sequence, "b (n t) c -> n b t c", n=2)
        alpha = self.alpha.astype(x.dtype)
        mixed = (alpha * from_now + (1 - alpha) * from_before).reshape(now.shape)
        has_history = jnp.any(validity > 0, axis=(1, 2, 3), keepdims=True)
        return jnp.where(
            has_history, 0.1 * resize_linear(mixed, *x.shape[1:3]), 0
        ).astype(x.dtype)


class SpatialBlock(Block):
    """Our TPM: mixes current features, previous features and their validity where they
    are; starts at zero.
    """

    def setup(self) -> None:
        super().setup()
        self.temporal_processor_0 = conv(self.channels // 2, kernel=1, dtype=self.dtype)
        self.temporal_processor_2 = conv(self.channels, zero=True, dtype=self.dtype)

    def temporal(self, x: Features, previous: Features, validity: Mask) -> Features:
        both = jnp.concatenate([x, previous, validity.astype(x.dtype)], -1)
        return self.temporal_processor_2(nn.relu(self.temporal_processor_0(both)))


BLOCKS = {"sequence": SequenceBlock, "spatial": SpatialBlock}


class Doubled(UpsampledConv):
    """Nearest x2, then a 3x3 convolution."""

    def __call__(self, x: Features) -> Features:
        return super().__call__(x, 2 * x.shape[1], 2 * x.shape[2])


def unchanged(x: Features) -> Features:
    """Where the published list has its upsampling, which `Doubled` does: keeps the
    numbers.
    """
    return x


class Encoder(nn.Module):
    """conv, then blocks with a stride-2 convolution between stages, then conv to the
    latents.
    """

    config: VAEConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        layers: list = [conv(c.encoder_channels[0], dtype=self.dtype)]
        for stage, (channels, blocks) in enumerate(
            zip(c.encoder_channels, c.encoder_blocks)
        ):
            if stage:
                layers.append(conv(channels, stride=2, bias=False, dtype=self.dtype))
            layers += [BLOCKS[c.tpm](channels, self.dtype) for _ in range(blocks)]
        self.layers = [*layers, conv(c.latent_channels, dtype=self.dtype)]

    def __call__(self, x: Features) -> Latents:
        return self.layers[-1](self._body(x)[-1])

    def features(self, x: Features) -> list[Features]:
        """Block outputs, deepest first: the order in which the decoder's blocks take
        them.
        """
        outputs = zip(self.layers, self._body(x))
        return [y for layer, y in outputs if isinstance(layer, Block)][::-1]

    def _body(self, x: Features) -> list[Features]:
        outputs = []
        for layer in self.layers[:-1]:
            x = layer(x)
            outputs.append(x)
        return outputs


class Decoder(nn.Module):
    """conv relu, then blocks with nearest x2 and a convolution between stages, then
    conv to pixels.
    """

    config: VAEConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        layers: list = [conv(c.decoder_channels[0], dtype=self.dtype), nn.relu]
        for stage, (channels, blocks) in enumerate(
            zip(c.decoder_channels, c.decoder_blocks)
        ):
            if stage:
                layers += [unchanged, Doubled(channels, False, self.dtype)]
            layers += [BLOCKS[c.tpm](channels, self.dtype) for _ in range(blocks)]
        self.layers = [
            *layers,
            conv(3 * c.decoder_fold**2, zero=c.residual, dtype=self.dtype),
        ]

    def __call__(
        self, x: Features, previous: Sequence[Features], validity: Mask
    ) -> SRFrame:
        """Block k takes ``previous[k]``; blocks beyond the end of ``previous`` (all, if
        empty) work alone.
        """
        remaining = list(previous)
        for layer in self.layers:
            has_previous = isinstance(layer, Block) and remaining
            x = layer(x, remaining.pop(0), validity) if has_previous else layer(x)
        return unfold(x.astype(jnp.float32), self.config.decoder_fold)


class TemporalAutoencoder(nn.Module):
    """Images are [-1, 1]; ``up`` is the bicubic frame, used (with ``lr``) only by a
    residual autoencoder.
    """

    config: VAEConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.dtype)
        self.decoder = Decoder(self.config, self.dtype)

    def encode(self, image: SRFrame, up: SRFrame, lr: LRFrame) -> Latents:
        """Latents [b, h, w, c], float32, times ``scaling_factor``."""
        latents = self.encoder(self._encoder_input(image, up, lr, raw=False))
        return latents.astype(jnp.float32) * self.config.scaling_factor

    def features(
        self, image: SRFrame, up: SRFrame, lr: LRFrame, *, raw: bool = False
    ) -> list[Features]:
        """Features of the warped previous frame for the decoder's TPMs; ``raw``: quirk
        raw_tpm_input.
        """
        return self.encoder.features(self._encoder_input(image, up, lr, raw=raw))

    def decode(
        self,
        latents: Latents,
        up: SRFrame,
        lr: LRFrame,
        previous: Sequence[Features],
        validity: Mask,
    ) -> SRFrame:
        """SR frame, float32, unclamped. ``previous`` may be empty: a plain decode."""
        magnitude = self.config.latent_magnitude
        x = jnp.tanh(latents / self.config.scaling_factor / magnitude) * magnitude
        if self.config.residual:
            x = jnp.concatenate([x, lr.astype(x.dtype)], -1)
        y = self.decoder(x.astype(self.dtype), previous, validity)
        image = up + y if self.config.residual else 2 * y - 1
        return back_project(image, lr) if self.config.back_project else image

    def _encoder_input(
        self, image: SRFrame, up: SRFrame, lr: LRFrame, *, raw: bool
    ) -> Features:
        if self.config.residual:
            x = jnp.concatenate([fold(image - up, self.config.encoder_fold), lr], -1)
        else:
            x = fold(image if raw else (image + 1) / 2, self.config.encoder_fold)
        return x.astype(self.dtype)


def back_project(image: SRFrame, lr: LRFrame) -> SRFrame:
    """One step of iterative back-projection: SR + up(LR - down(SR)), so that down(SR)
    comes close to LR.
    """
    scale = image.shape[1] // lr.shape[1]
    return image + upsample_bicubic(lr - downsample_bicubic(image, scale), scale)
