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
from sdvsr_jax.types import Features, Flow, LRFrame

REFINED_SCALE = 2
"""Of the frames that the flow is refined on: at LR size their gradients are too coarse.
"""
WINDOW_SIGMA = 2.0


class FlowDecoder(nn.Module):
    """(current, warped previous, flow) -> correction of the flow, in pixels of this
    level.
    """

    channels: int

    def setup(self) -> None:
        self.conv_0, self.conv_1 = (
            conv(2 * self.channels, dtype=jnp.float32),
            conv(self.channels, dtype=jnp.float32),
        )
        self.conv_2 = conv(2, zero=True, dtype=jnp.float32)

    def __call__(self, x: Features) -> Flow:
        return self.conv_2(
            nn.leaky_relu(self.conv_1(nn.leaky_relu(self.conv_0(x), 0.1)), 0.1)
        )


class FlowNet(nn.Module):
    """Flow current -> previous at LR resolution, float32; starts at zero flow."""

    config: FlowNetConfig

    def setup(self) -> None:
        c = self.config
        self.pyramid = [
            conv(c.channels, stride=2, dtype=jnp.float32) for _ in range(c.num_levels)
        ]
        self.refine = [conv(c.channels, dtype=jnp.float32) for _ in range(c.num_levels)]
        self.decoder = FlowDecoder(c.channels)

    def features(self, lr: LRFrame) -> tuple[Features, ...]:
        """Pyramid of one frame, finest (1/2) first, and the grey frame to refine on;
        carried for the next frame.
        """
        levels = []
        x = lr
        for down, refine in zip(self.pyramid, self.refine):
            x = nn.leaky_relu(refine(nn.leaky_relu(down(x), 0.1)), 0.1)
            levels.append(x)
        if self.config.refinements:
            levels.append(upsample_bicubic(lr.mean(-1, keepdims=True), REFINED_SCALE))
        return tuple(levels)

    def __call__(
        self,
        lr: LRFrame,
        features: tuple[Features, ...],
        previous: tuple[Features, ...],
    ) -> Flow:
        """Flow [b, h, w, 2] in LR pixels."""
        levels = self.config.num_levels
        flow = jnp.zeros(
            (lr.shape[0], *features[levels - 1].shape[1:3], 2), jnp.float32
        )
        for now, before in zip(features[:levels][::-1], previous[:levels][::-1]):
            flow = _rescale(flow, *now.shape[1:3])
            flow = flow + self.decoder(
                jnp.concatenate([now, warp(before, flow), flow], -1)
            )
        if not self.config.refinements:
            return _rescale(flow, *lr.shape[1:3])
        now, before = features[-1], previous[-1]
        flow = refine_flow(
            now,
            before,
            _rescale(flow, *now.shape[1:3]),
            sigma=WINDOW_SIGMA,
            num_iterations=self.config.refinements,
        )
        return mean_pool(flow, REFINED_SCALE) / REFINED_SCALE


def _rescale(flow: Flow, height: int, width: int) -> Flow:
    """Flow at another resolution: resampled, and its pixels rescaled."""
    factor = jnp.array([width / flow.shape[2], height / flow.shape[1]], jnp.float32)
    return resize_linear(flow, height, width) * factor
