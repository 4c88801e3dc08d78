"""Repair of the LR frame before anything else sees it: compression, noise, blur.

A recurrent residual network at half the LR resolution (2x2 pixels folded into channels:
block artefacts are 8 to 16 pixels wide). It sees the frame, the previous repaired frame
and its own memory, both warped along the flow, and how far they can be trusted.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.config import RestorerConfig
from sdvsr_jax.models.linear import conv
from sdvsr_jax.ops.resize import fold, unfold
from sdvsr_jax.types import Features, LRFrame, Mask

FOLD = 2
SLOPE = 0.1
RESIDUAL_SCALE = 0.3
"""Of a block's branch, so that five of them do not double the signal."""


class Repair(NamedTuple):
    """What is to be added to the frame, how much of it, and the memory for the next
    frame.
    """

    residual: LRFrame
    amount: Mask
    """In [0, 1] per pixel: how much of the residual this frame needs by the network's
    own judgement.
    """
    memory: Features


class Restorer(nn.Module):
    """(frame, warped previous frame, warped memory, validity) -> `Repair`; a fresh one
    repairs nothing.
    """

    config: RestorerConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.conv_in = conv(c.channels, dtype=self.dtype)
        self.blocks = [
            ResidualBlock(c.channels, self.dtype) for _ in range(c.num_blocks)
        ]
        # all output phases start at zero, so none is ahead of another
        self.conv_out = conv(
            4 * FOLD**2 + c.memory_channels, zero=True, dtype=self.dtype
        )

    def __call__(
        self, lr: LRFrame, previous: LRFrame, memory: Features, validity: Mask
    ) -> Repair:
        """``memory`` is [b, h/2, w/2, memory_channels]; sides of the frame are even."""
        images = jnp.concatenate([lr, previous - lr, validity], -1)
        x = jnp.concatenate([fold(images, FOLD), memory], -1).astype(self.dtype)
        x = self.conv_in(x)
        for block in self.blocks:
            x = block(x)
        y = self.conv_out(x).astype(jnp.float32)
        image = unfold(y[..., : 4 * FOLD**2], FOLD)
        # bounded, so that what is remembered cannot grow from frame to frame
        remembered = jnp.tanh(y[..., 4 * FOLD**2 :])
        return Repair(image[..., :3], jax.nn.sigmoid(image[..., 3:]), remembered)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), without norms.

    Leaky, because with ReLU the whole trunk fell silent in its first steps of training.
    """

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv_0 = conv(self.channels, dtype=self.dtype)
        self.conv_1 = conv(self.channels, dtype=self.dtype)

    def __call__(self, x: Features) -> Features:
        h = self.conv_0(nn.leaky_relu(x, SLOPE))
        return x + RESIDUAL_SCALE * self.conv_1(nn.leaky_relu(h, SLOPE))
