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
    depth_to_space,
    downsample_bicubic,
    mean_pool,
    resize_linear,
    space_to_depth,
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
        self.conv_0 = conv(self.channels, dtype=self.dtype)
        self.conv_2 = conv(self.channels, dtype=self.dtype)
        self.conv_4 = conv(self.channels, dtype=self.dtype)

    def __call__(
        self,
        x: Features,
        previous: Features | None = None,
        validity: Mask | None = None,
    ) -> Features:
        h = self.conv_0(x)
        h = nn.relu(h)
        h = self.conv_2(h)
        h = nn.relu(h)
        h = self.conv_4(h)
        if previous is not None:
            change = self.temporal(h, previous, validity)
            h = h + change
        return nn.relu(h + x)


class SequenceBlock(Block):
    """The published TPM: pooled current and previous features laid end to end as one
    raster sequence.
    """

    def setup(self) -> None:
        super().setup()
        self.alpha = self.param("alpha", nn.initializers.constant(0.5), ())
        self.temporal_processor_0 = self._sequence_conv()
        self.temporal_processor_2 = self._sequence_conv()

    def _sequence_conv(self) -> nn.Conv:
        return nn.Conv(
            self.channels,
            kernel_size=(3,),
            padding=1,
            dtype=self.dtype,
        )

    def temporal(self, x: Features, previous: Features, validity: Mask) -> Features:
        _, height, width, _ = x.shape
        # pixels that do not fill a cell are dropped, as the published pooling does
        now = mean_pool(x, 4)
        before = mean_pool(previous, 4)
        # rows wrap, and the end of one frame touches the start of the other: the
        # published weights were trained so (docs/parity.md)
        sequence = rearrange([now, before], "n b h w c -> b (n h w) c")
        sequence = self.temporal_processor_0(sequence)
        sequence = nn.relu(sequence)
        sequence = self.temporal_processor_2(sequence)
        from_now, from_before = rearrange(sequence, "b (n t) c -> n b t c", n=2)
        alpha = self.alpha.astype(x.dtype)
        mixed = alpha * from_now + (1 - alpha) * from_before
        mixed = mixed.reshape(now.shape)
        # a tenth, as the published module has it
        change = 0.1 * resize_linear(mixed, height, width)
        # a bias would act without a previous frame as well
        is_seen = validity > 0
        has_history = jnp.any(is_seen, axis=(1, 2, 3), keepdims=True)
        change = jnp.where(has_history, change, 0)
        return change.astype(x.dtype)


class SpatialBlock(Block):
    """Our TPM: mixes current features, previous features and their validity where they
    are; starts at zero.
    """

    def setup(self) -> None:
        super().setup()
        half = self.channels // 2
        self.temporal_processor_0 = conv(half, kernel=1, dtype=self.dtype)
        self.temporal_processor_2 = conv(self.channels, zero=True, dtype=self.dtype)

    def temporal(self, x: Features, previous: Features, validity: Mask) -> Features:
        validity = validity.astype(x.dtype)
        both = jnp.concatenate([x, previous, validity], -1)
        h = self.temporal_processor_0(both)
        h = nn.relu(h)
        return self.temporal_processor_2(h)


BLOCKS = {"sequence": SequenceBlock, "spatial": SpatialBlock}


class Doubled(UpsampledConv):
    """Nearest x2, then a 3x3 convolution."""

    def __call__(self, x: Features) -> Features:
        _, height, width, _ = x.shape
        return super().__call__(x, 2 * height, 2 * width)


def unchanged(x: Features) -> Features:
    """Where the published list has its upsampling, which `Doubled` does: keeps the
    numbers.
    """
    return x


class ImageEncoder(nn.Module):
    """conv, then blocks with a stride-2 convolution between stages, then conv to the
    latents.
    """

    config: VAEConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        block = BLOCKS[c.tpm]
        first_width = c.encoder_channels[0]
        first = conv(first_width, dtype=self.dtype)
        layers: list = [first]
        stages = zip(c.encoder_channels, c.encoder_blocks)
        for stage, (channels, num_blocks) in enumerate(stages):
            if stage:
                halved = conv(
                    channels,
                    stride=2,
                    bias=False,
                    dtype=self.dtype,
                )
                layers.append(halved)
            for _ in range(num_blocks):
                layers.append(block(channels, self.dtype))
        last = conv(c.latent_channels, dtype=self.dtype)
        layers.append(last)
        self.layers = layers

    def __call__(self, x: Features) -> Latents:
        *_, last_layer = self.layers
        *_, features = self._body(x)
        return last_layer(features)

    def features(self, x: Features) -> list[Features]:
        """Block outputs, deepest first: the order in which the decoder's blocks take
        them.
        """
        outputs = self._body(x)
        of_blocks = []
        for layer, features in zip(self.layers, outputs):
            if isinstance(layer, Block):
                of_blocks.append(features)
        return of_blocks[::-1]

    def _body(self, x: Features) -> list[Features]:
        """Outputs of all layers but the last."""
        *layers, _ = self.layers
        outputs = []
        for layer in layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class ImageDecoder(nn.Module):
    """conv relu, then blocks with nearest x2 and a convolution between stages, then
    conv to pixels.
    """

    config: VAEConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        block = BLOCKS[c.tpm]
        first_width = c.decoder_channels[0]
        first = conv(first_width, dtype=self.dtype)
        layers: list = [first, nn.relu]
        stages = zip(c.decoder_channels, c.decoder_blocks)
        for stage, (channels, num_blocks) in enumerate(stages):
            if stage:
                doubled = Doubled(
                    channels,
                    use_bias=False,
                    dtype=self.dtype,
                )
                layers += [unchanged, doubled]
            for _ in range(num_blocks):
                layers.append(block(channels, self.dtype))
        num_values = 3 * c.decoder_fold**2
        # a residual starts at zero: a fresh model returns the bicubic frame
        pixels = conv(num_values, zero=c.residual, dtype=self.dtype)
        layers.append(pixels)
        self.layers = layers

    def __call__(
        self, x: Features, previous: Sequence[Features], validity: Mask
    ) -> SRFrame:
        """Block k takes ``previous[k]``; blocks beyond the end of ``previous`` (all, if
        empty) work alone.
        """
        remaining = list(previous)
        for layer in self.layers:
            if isinstance(layer, Block) and remaining:
                # deepest first, as `ImageEncoder.features` returns them
                features = remaining.pop(0)
                x = layer(x, features, validity)
            else:
                x = layer(x)
        pixels = x.astype(jnp.float32)
        return depth_to_space(pixels, self.config.decoder_fold)


class TemporalAutoencoder(nn.Module):
    """Images are [-1, 1]; ``up`` is the bicubic frame, used (with ``lr``) only by a
    residual autoencoder.
    """

    config: VAEConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.encoder = ImageEncoder(self.config, self.dtype)
        self.decoder = ImageDecoder(self.config, self.dtype)

    def encode(self, image: SRFrame, up: SRFrame, lr: LRFrame) -> Latents:
        """Returns latents [b, h, w, c], float32, times ``scaling_factor``."""
        x = self._encoder_input(image, up, lr, raw=False)
        latents = self.encoder(x)
        latents = latents.astype(jnp.float32)
        return latents * self.config.scaling_factor

    def features(
        self, image: SRFrame, up: SRFrame, lr: LRFrame, *, raw: bool = False
    ) -> list[Features]:
        """Returns features of the warped previous frame for the decoder's TPMs;
        ``raw``: quirk raw_tpm_input.
        """
        x = self._encoder_input(image, up, lr, raw=raw)
        return self.encoder.features(x)

    def decode(
        self,
        latents: Latents,
        up: SRFrame,
        lr: LRFrame,
        previous: Sequence[Features],
        validity: Mask,
    ) -> SRFrame:
        """Returns the SR frame, float32, unclamped.

        ``previous`` may be empty: a plain decode.
        """
        c = self.config
        # a soft clamp: the decoder never sees latents beyond those of its training
        scaled = latents / c.scaling_factor
        unit = jnp.tanh(scaled / c.latent_magnitude)
        x = unit * c.latent_magnitude
        if c.residual:
            frame = lr.astype(x.dtype)
            x = jnp.concatenate([x, frame], -1)
        x = x.astype(self.dtype)
        y = self.decoder(x, previous, validity)
        # TAESD's pixels are in [0, 1]
        image = up + y if c.residual else 2 * y - 1
        if c.back_project:
            image = back_project(image, lr)
        return image

    def _encoder_input(
        self, image: SRFrame, up: SRFrame, lr: LRFrame, *, raw: bool
    ) -> Features:
        fold = self.config.encoder_fold
        if self.config.residual:
            residual = image - up
            cells = space_to_depth(residual, fold)
            x = jnp.concatenate([cells, lr], -1)
        else:
            # TAESD, whose layout this is, works on [0, 1]
            x = image if raw else (image + 1) / 2
            x = space_to_depth(x, fold)
        return x.astype(self.dtype)


def back_project(image: SRFrame, lr: LRFrame) -> SRFrame:
    """One step of iterative back-projection: SR + up(LR - down(SR)), so that down(SR)
    comes close to LR.
    """
    scale = image.shape[1] // lr.shape[1]
    reduced = downsample_bicubic(image, scale)
    error = lr - reduced
    correction = upsample_bicubic(error, scale)
    return image + correction
