"""RAFT-large optical flow (Teed & Deng 2020), in the parameter layout of torchvision.

1. encode both images at 1/8 size; correlate all pairs of their features 2. refine the
flow `num_updates` times: look up correlations where the flow points, update a
convolutional GRU 3. upsample the last flow: every pixel is a learned convex combination
of its 3x3 coarse neighbours
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.models.flow.correlation import NUM_CHANNELS, Lookup, make_lookup
from sdvsr_jax.models.flow.raft_encoder import Encoder
from sdvsr_jax.models.linear import conv, stored
from sdvsr_jax.ops.subpixel import plain_conv
from sdvsr_jax.types import Array, Features, Float, Flow, PyTree

STRIDE = 8
MIN_SIZE = 64
"""The smallest image side that leaves one pixel at the coarsest correlation level."""

Image = Float[Array, "b H W 3"]
FineFlow = Float[Array, "b H W 2"]


class RAFT(nn.Module):
    """Flow between two images in [-1, 1] whose sides are multiples of 8, at least 64."""

    config: RAFTConfig = RAFTConfig()
    dtype: Any = jnp.float32
    """Of the convolutions; correlation, positions and flow are float32."""

    def setup(self) -> None:
        c = self.config.channels
        self.feature_encoder = Encoder(c, batch_norm=False, dtype=self.dtype)
        self.context_encoder = Encoder(c, batch_norm=True, dtype=self.dtype)
        self.update_block = UpdateBlock(c, dtype=self.dtype)
        self.mask_predictor = MaskPredictor(c, dtype=self.dtype)

    def features(self, image: Image) -> Features:
        """What correlation compares, [b, H/8, W/8, 4*channels]: the part of an image
        worth keeping for the next.
        """
        _, height, width, _ = image.shape
        if height % STRIDE or width % STRIDE or min(height, width) < MIN_SIZE:
            raise ValueError(
                f"RAFT got a {width}x{height} image, expected sides that are multiples of {STRIDE} and at least "
                f"{MIN_SIZE}: pad the image"
            )
        return self.feature_encoder(image).astype(jnp.float32)

    def context(self, image: Image) -> tuple[Features, PyTree]:
        """First GRU state [b, H/8, W/8, 2*channels], and the update's constants: the
        same for every update.
        """
        hidden, context = jnp.split(
            self.context_encoder(image).astype(jnp.float32), 2, -1
        )
        return jnp.tanh(hidden), self.update_block.fold(nn.relu(context))

    def __call__(
        self, image: Image, features: Features, prev_features: Features
    ) -> FineFlow:
        """Flow [b,H,W,2] (x, y) in pixels from `image` to the previous one; features as
        `features()` gives them.
        """
        lookup = make_lookup(features, prev_features, self.config.correlation)
        hidden, context = self.context(image)
        flow = jnp.zeros((*hidden.shape[:3], 2), jnp.float32)

        def update(
            module: "RAFT", carry: tuple[Array, Array], _: None
        ) -> tuple[tuple[Array, Array], None]:
            hidden, flow = carry
            return module.update(lookup, hidden, context, flow), None

        updates = nn.scan(
            update,
            variable_broadcast="params",
            split_rngs={"params": False},
            length=self.config.num_updates,
        )
        (hidden, flow), _ = updates(self, (hidden, flow), None)
        return upsample(flow, self.mask_predictor(hidden))

    def update(
        self, lookup: Lookup, hidden: Array, context: PyTree, flow: Flow
    ) -> tuple[Array, Flow]:
        """One refinement of the GRU state and of the flow at 1/8 size."""
        hidden, delta = self.update_block(
            hidden, context, lookup(grid(flow) + flow), flow
        )
        return hidden, flow + delta


class UpdateBlock(nn.Module):
    """(GRU state, folded context, correlations, flow) -> (new state, change of flow)."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.motion_encoder = MotionEncoder(self.channels, self.dtype)
        self.recurrent_block = RecurrentBlock(self.channels * 2, self.dtype)
        self.flow_head = FlowHead(self.channels * 4, self.dtype)

    def fold(self, context: Features) -> PyTree:
        """What is the same in every update: the context's part of the GRU, and a kernel
        in its form.
        """
        return self.motion_encoder.fold(), self.recurrent_block.fold(context)

    def __call__(
        self, hidden: Array, folded: PyTree, correlations: Array, flow: Flow
    ) -> tuple[Array, Flow]:
        kernel, context = folded
        hidden = self.recurrent_block(
            hidden, self.motion_encoder(correlations, flow, kernel), context
        )
        return hidden, self.flow_head(hidden).astype(jnp.float32)


class MotionEncoder(nn.Module):
    """Correlations and flow to motion features; the last two channels are the flow
    itself.

    The last convolution has two output channels more, of zeros, which the flow is added
    to: a GPU's kernels want multiples of four channels, and no image is put together
    from two.
    """

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        c = self.channels
        self.convcorr1 = [conv(c * 4, 1, dtype=self.dtype)]
        self.convcorr2 = [conv(c * 3, 3, dtype=self.dtype)]
        self.convflow1 = [conv(c * 2, 7, dtype=self.dtype)]
        self.convflow2 = [conv(c, 3, dtype=self.dtype)]
        self.conv = [ConvParams((3, 3), c * 4, c * 2 - 2)]

    def fold(self) -> tuple[Array, Array]:
        """Kernel and bias of the last convolution with two channels of zeros."""
        kernel, bias = (_widened(a, 0, 2) for a in self.conv[0]())
        return kernel, bias

    def __call__(
        self,
        correlations: Float[Array, f"b h w {NUM_CHANNELS}"],
        flow: Flow,
        folded: tuple[Array, Array],
    ) -> Array:
        kernel, bias = folded
        corr = nn.relu(self.convcorr2[0](nn.relu(self.convcorr1[0](correlations))))
        motion = nn.relu(self.convflow2[0](nn.relu(self.convflow1[0](flow))))
        motion = nn.relu(
            same_conv(jnp.concatenate([corr, motion], -1), kernel, self.dtype) + bias
        )
        return motion + _widened(flow, motion.shape[-1] - 2, 0)


class RecurrentBlock(nn.Module):
    """A convolutional GRU along rows, then one along columns."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convgru1 = ConvGRU(self.channels, (1, 5), self.dtype)
        self.convgru2 = ConvGRU(self.channels, (5, 1), self.dtype)

    def fold(self, context: Features) -> PyTree:
        """What the context adds to either GRU."""
        return self.convgru1.fold(context), self.convgru2.fold(context)

    def __call__(self, hidden: Array, motion: Array, context: PyTree) -> Array:
        return self.convgru2(
            self.convgru1(hidden, motion, context[0]), motion, context[1]
        )


class ConvGRU(nn.Module):
    """GRU whose matrices are convolutions of (state, context, motion), as many channels
    each.

    The context is the same in all updates of a frame, so its third of the convolutions
    is done once.
    """

    channels: int
    kernel: tuple[int, int]
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convz, self.convr, self.convq = (
            ConvParams(self.kernel, 3 * self.channels, self.channels) for _ in range(3)
        )

    def fold(self, context: Features) -> PyTree:
        """For both gates in one convolution, and for the candidate: (kernel of state
        and motion, what is added).
        """
        gates = (jnp.concatenate(pair, -1) for pair in zip(self.convz(), self.convr()))
        return tuple(self._fold(context, *of) for of in (gates, self.convq()))

    def _fold(
        self, context: Features, kernel: Array, bias: Array
    ) -> tuple[Array, Array]:
        of_state, of_context, of_motion = jnp.split(kernel, 3, 2)
        return jnp.concatenate([of_state, of_motion], 2), same_conv(
            context, of_context, self.dtype
        ) + bias

    def __call__(self, hidden: Array, motion: Array, context: PyTree) -> Array:
        (of_gates, for_gates), (of_candidate, for_candidate) = context
        gates = (
            same_conv(jnp.concatenate([hidden, motion], -1), of_gates, self.dtype)
            + for_gates
        )
        update, reset = jnp.split(nn.sigmoid(gates), 2, -1)
        candidate = same_conv(
            jnp.concatenate([reset * hidden, motion], -1), of_candidate, self.dtype
        )
        candidate = candidate + for_candidate
        return (1 - update) * hidden + update * jnp.tanh(candidate)


class ConvParams(nn.Module):
    """Kernel and bias of a convolution, for who computes it in parts."""

    kernel: tuple[int, int]
    in_channels: int
    channels: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        bias = jnp.asarray(self.param("bias", nn.initializers.zeros, (self.channels,)))
        if (turned := stored(self, "kernel_ohwi")) is not None:
            return turned.transpose(1, 2, 3, 0), bias  # which XLA sees through
        shape = (*self.kernel, self.in_channels, self.channels)
        return jnp.asarray(
            self.param("kernel", nn.initializers.lecun_normal(), shape)
        ), bias


def same_conv(x: Features, kernel: Float[Array, "kh kw c d"], dtype: Any) -> Features:
    """Stride 1, an odd kernel, as large as the input."""
    rows, columns = ((k // 2, k // 2) for k in kernel.shape[:2])
    return plain_conv(x.astype(dtype), kernel.astype(dtype), rows, columns)


def _widened(x: Array, before: int, after: int) -> Array:
    """With so many channels of zeros more in front and behind."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])


class FlowHead(nn.Module):
    """GRU state to a change of flow at 1/8 size."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.conv1 = conv(self.channels, 3, dtype=self.dtype)
        self.conv2 = conv(2, 3, dtype=self.dtype)

    def __call__(self, hidden: Array) -> Array:
        return self.conv2(nn.relu(self.conv1(hidden)))


class MaskPredictor(nn.Module):
    """GRU state to the logits of the convex upsampling, [b, h, w, 9*8*8]."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convrelu = [conv(self.channels * 4, 3, dtype=self.dtype)]
        self.conv = conv(9 * STRIDE**2, 1, dtype=self.dtype)

    def __call__(self, hidden: Array) -> Array:
        # A quarter: RAFT balances the gradients of mask and flow so; the trained
        # weights contain it.
        return 0.25 * self.conv(nn.relu(self.convrelu[0](hidden))).astype(jnp.float32)


def grid(flow: Flow) -> Float[Array, "h w 2"]:
    """The position (x, y) of every pixel, [h, w, 2]."""
    height, width = flow.shape[1:3]
    return jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1).astype(
        flow.dtype
    )


def upsample(flow: Flow, logits: Float[Array, "b h w 576"]) -> FineFlow:
    """Flow at 1/8 size to full size and full-size pixels: softmax-weighted means of 3x3
    coarse neighbours.
    """
    b, h, w, _ = flow.shape
    weights = nn.softmax(logits.reshape(b, h, w, 9, STRIDE, STRIDE), axis=3)
    padded = jnp.pad(STRIDE * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    neighbours = jnp.stack(
        [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], 3
    )
    # A reduced matrix precision would round positions of hundreds of pixels.
    fine = jnp.einsum("bijkyx,bijkc->biyjxc", weights, neighbours, precision="highest")
    return fine.reshape(b, STRIDE * h, STRIDE * w, 2)
