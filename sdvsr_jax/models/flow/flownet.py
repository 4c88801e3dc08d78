"""Our small flow network: coarse to fine on the LR frames, one decoder shared by all
levels.

A few convolutions find large motion but not a quarter of a pixel, which is a whole one
of the frame to be warped; least squares on the frames themselves do (docs/results.md,
"Flow"). So the network starts and `refine_flow` ends.
"""

import flax.linen as nn
import jax.numpy as jnp

from sdvsr_jax.config import FlowNetConfig
from sdvsr_jax.models.linear import conv
from sdvsr_jax.ops.lucas_kanade import refine_flow
from sdvsr_jax.ops.resize import mean_pool, resize_linear, upsample_bicubic
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.types import Features, Flow, LRFrame, SRFrame

# The flow is refined on frames of twice the LR size: at LR size their gradients are too
# coarse.
REFINED_SCALE = 2
WINDOW_SIGMA = 2.0
SLOPE = 0.1
"""Of the leaky ReLU."""


class FlowDecoder(nn.Module):
    """(current, warped previous, flow) -> correction of the flow, in pixels of this
    level.
    """

    channels: int

    def setup(self) -> None:
        self.conv_0 = conv(2 * self.channels, dtype=jnp.float32)
        self.conv_1 = conv(self.channels, dtype=jnp.float32)
        self.conv_2 = conv(2, zero=True, dtype=jnp.float32)

    def __call__(self, x: Features) -> Flow:
        x = self.conv_0(x)
        x = nn.leaky_relu(x, SLOPE)
        x = self.conv_1(x)
        x = nn.leaky_relu(x, SLOPE)
        return self.conv_2(x)


class FlowNet(nn.Module):
    """Flow current -> previous at LR resolution, float32; starts at zero flow."""

    config: FlowNetConfig

    def setup(self) -> None:
        width = self.config.channels
        levels = range(self.config.num_levels)
        self.pyramid = [conv(width, stride=2, dtype=jnp.float32) for _ in levels]
        self.refine = [conv(width, dtype=jnp.float32) for _ in levels]
        self.decoder = FlowDecoder(width)

    def choose_frame(self, lr: LRFrame, up: SRFrame) -> LRFrame:
        """The LR frame itself."""
        del up
        return lr

    def features(self, image: LRFrame) -> tuple[Features, ...]:
        """Returns the pyramid of an LR frame, finest (1/2) first, and the grey frame to
        refine on.
        """
        levels = []
        x = image
        for down, refine in zip(self.pyramid, self.refine):
            x = down(x)
            x = nn.leaky_relu(x, SLOPE)
            x = refine(x)
            x = nn.leaky_relu(x, SLOPE)
            levels.append(x)
        if self.config.refinements:
            grey = image.mean(-1, keepdims=True)
            enlarged = upsample_bicubic(grey, REFINED_SCALE)
            levels.append(enlarged)
        return tuple(levels)

    def __call__(
        self,
        image: LRFrame,
        features: tuple[Features, ...],
        prev_features: tuple[Features, ...],
    ) -> Flow:
        """Returns the flow [b, h, w, 2] in LR pixels."""
        num_levels = self.config.num_levels
        coarsest = features[num_levels - 1]
        batch, height, width, _ = coarsest.shape
        flow = jnp.zeros((batch, height, width, 2), jnp.float32)
        for level in reversed(range(num_levels)):
            now = features[level]
            before = prev_features[level]
            flow = _rescale(flow, *now.shape[1:3])
            # warped along the flow so far, so that the decoder sees small motion only
            warped = warp(before, flow)
            both = jnp.concatenate([now, warped, flow], -1)
            correction = self.decoder(both)
            flow = flow + correction
        if not self.config.refinements:
            return _rescale(flow, *image.shape[1:3])
        # behind the pyramid lie the grey frames
        now = features[-1]
        before = prev_features[-1]
        start = _rescale(flow, *now.shape[1:3])
        flow = refine_flow(
            now,
            before,
            start,
            sigma=WINDOW_SIGMA,
            num_iterations=self.config.refinements,
        )
        return mean_pool(flow, REFINED_SCALE) / REFINED_SCALE


def _rescale(flow: Flow, height: int, width: int) -> Flow:
    """Flow at another resolution: resampled, and its pixels rescaled."""
    _, old_height, old_width, _ = flow.shape
    factors = [width / old_width, height / old_height]
    resampled = resize_linear(flow, height, width)
    return resampled * jnp.array(factors, jnp.float32)
