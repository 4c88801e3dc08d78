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
from sdvsr_jax.ops.resize import depth_to_space, space_to_depth
from sdvsr_jax.types import Array, Bool, Features, LRFrame, Mask

FOLD = 2
IMAGE_CHANNELS = 4 * FOLD**2
"""Residual and amount, folded."""
SLOPE = 0.1
# Of a block's branch, so that five of them do not double the signal.
RESIDUAL_SCALE = 0.3


class Repair(NamedTuple):
    """A correction of the frame, and the memory for the next one."""

    residual: LRFrame
    """To be added to the frame."""
    amount: Mask
    """In [0, 1] per pixel: the share of the residual that the network advises."""
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
        numbers = range(c.num_blocks)
        self.blocks = [LeakyBlock(c.channels, self.dtype) for _ in numbers]
        # all output phases start at zero, so none is ahead of another
        width = IMAGE_CHANNELS + c.memory_channels
        self.conv_out = conv(width, zero=True, dtype=self.dtype)

    def __call__(
        self, lr: LRFrame, previous: LRFrame, memory: Features, validity: Mask
    ) -> Repair:
        """``memory`` is [b, h/2, w/2, memory_channels]; sides of the frame are even."""
        change = previous - lr
        images = jnp.concatenate([lr, change, validity], -1)
        cells = space_to_depth(images, FOLD)
        x = jnp.concatenate([cells, memory], -1)
        x = x.astype(self.dtype)
        x = self.conv_in(x)
        for block in self.blocks:
            x = block(x)
        y = self.conv_out(x)
        y = y.astype(jnp.float32)
        of_image = y[..., :IMAGE_CHANNELS]
        of_memory = y[..., IMAGE_CHANNELS:]
        image = depth_to_space(of_image, FOLD)
        residual = image[..., :3]
        advice = image[..., 3:]
        amount = jax.nn.sigmoid(advice)
        # bounded, so that the memory cannot grow from frame to frame
        next_memory = jnp.tanh(of_memory)
        return Repair(residual, amount, next_memory)


def residual_channels(width: int) -> Bool[Array, " n"]:
    """Returns which of the ``width`` outputs of `conv_out` are the residual's; the
    others are its amount and the memory.
    """
    channel = jnp.arange(width)
    of_image = channel < IMAGE_CHANNELS
    is_color = channel % 4 < 3
    return of_image & is_color


class LeakyBlock(nn.Module):
    """x + conv(act(conv(act(x)))), without norms.

    Leaky, because with ReLU the whole trunk fell silent in its first steps of training.
    """

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv_0 = conv(self.channels, dtype=self.dtype)
        self.conv_1 = conv(self.channels, dtype=self.dtype)

    def __call__(self, x: Features) -> Features:
        h = nn.leaky_relu(x, SLOPE)
        h = self.conv_0(h)
        h = nn.leaky_relu(h, SLOPE)
        h = self.conv_1(h)
        return x + RESIDUAL_SCALE * h
