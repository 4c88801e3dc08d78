"""RAFT-large optical flow (Teed & Deng 2020), in the parameter layout of torchvision.

1. encode both images at 1/8 size; correlate all pairs of their features
2. refine the flow `num_updates` times: look up correlations where the flow points,
   update a convolutional GRU
3. upsample the last flow: every pixel is a learned convex combination of its 3x3 coarse
   neighbours
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.models.flow.correlation import NUM_CHANNELS, Lookup, make_lookup
from sdvsr_jax.models.flow.raft_encoder import FeatureEncoder
from sdvsr_jax.models.linear import conv, stored
from sdvsr_jax.ops.subpixel import plain_conv
from sdvsr_jax.types import Array, Features, Float, Flow, LRFrame, PyTree, SRFrame

STRIDE = 8
# The smallest image side that leaves one pixel at the coarsest correlation level.
MIN_SIZE = 64

Image = Float[Array, "b H W 3"]
FineFlow = Float[Array, "b H W 2"]


class RAFT(nn.Module):
    """Flow between images in [-1, 1] whose sides are multiples of 8, at least 64."""

    config: RAFTConfig = RAFTConfig()

    def setup(self) -> None:
        c = self.config.channels
        dtype = jnp.dtype(self.config.dtype)
        self.feature_encoder = FeatureEncoder(c, batch_norm=False, dtype=dtype)
        self.context_encoder = FeatureEncoder(c, batch_norm=True, dtype=dtype)
        self.update_block = UpdateBlock(c, dtype)
        self.mask_predictor = MaskPredictor(c, dtype)

    def choose_frame(self, lr: LRFrame, up: SRFrame) -> SRFrame:
        """The bicubic frame: RAFT was trained on images of that size."""
        del lr
        return up

    def features(self, image: Image) -> Features:
        """Returns the features that correlation compares, [b, H/8, W/8, 4*channels]:
        the part of an image worth keeping for the next.
        """
        _, height, width, _ = image.shape
        if height % STRIDE or width % STRIDE or min(height, width) < MIN_SIZE:
            raise ValueError(
                f"RAFT got a {width}x{height} image, expected sides that are multiples "
                f"of {STRIDE} and at least {MIN_SIZE}: pad the image"
            )
        return self.feature_encoder(image).astype(jnp.float32)

    def context(self, image: Image) -> tuple[Features, PyTree]:
        """Returns the first GRU state [b, H/8, W/8, 2*channels], and the constants of
        all updates.
        """
        both = self.context_encoder(image).astype(jnp.float32)
        # one encoder for both: the first half starts the GRU, the other never changes
        hidden, context = jnp.split(both, 2, -1)
        return jnp.tanh(hidden), self.update_block.precompute(nn.relu(context))

    def __call__(
        self, image: Image, features: Features, prev_features: Features
    ) -> FineFlow:
        """Returns the flow [b,H,W,2] (x, y) in pixels from `image` to the previous one;
        features are those of `features()`.
        """
        # outside of the loop: all updates read it
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
        self, lookup: Lookup, hidden: Features, context: PyTree, flow: Flow
    ) -> tuple[Features, Flow]:
        """One refinement of the GRU state and of the flow at 1/8 size."""
        # no half-pixel correction on coarse levels, as published
        correlations = lookup(grid(flow) + flow)
        hidden, change = self.update_block(hidden, context, correlations, flow)
        return hidden, flow + change


class UpdateBlock(nn.Module):
    """(GRU state, constants, correlations, flow) -> (new state, change of flow)."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.motion_encoder = MotionEncoder(self.channels, self.dtype)
        self.recurrent_block = RecurrentBlock(self.channels * 2, self.dtype)
        self.flow_head = FlowHead(self.channels * 4, self.dtype)

    def precompute(self, context: Features) -> PyTree:
        """The constants of all updates: a kernel in the form that the motion encoder
        reads, and the context's part of the GRU.
        """
        kernel = self.motion_encoder.precompute()
        return kernel, self.recurrent_block.precompute(context)

    def __call__(
        self, hidden: Features, constants: PyTree, correlations: Features, flow: Flow
    ) -> tuple[Features, Flow]:
        kernel, context = constants
        motion = self.motion_encoder(correlations, flow, kernel)
        hidden = self.recurrent_block(hidden, motion, context)
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

    def precompute(self) -> tuple[Array, Array]:
        """Kernel and bias of the last convolution with two channels of zeros."""
        kernel, bias = self.conv[0]()
        return _pad_channels(kernel, 0, 2), _pad_channels(bias, 0, 2)

    def __call__(
        self,
        correlations: Float[Array, f"b h w {NUM_CHANNELS}"],
        flow: Flow,
        last_conv: tuple[Array, Array],
    ) -> Array:
        kernel, bias = last_conv
        corr = nn.relu(self.convcorr1[0](correlations))
        corr = nn.relu(self.convcorr2[0](corr))
        motion = nn.relu(self.convflow1[0](flow))
        motion = nn.relu(self.convflow2[0](motion))
        both = jnp.concatenate([corr, motion], -1)
        motion = nn.relu(same_conv(both, kernel, self.dtype) + bias)
        return motion + _pad_channels(flow, motion.shape[-1] - 2, 0)


class RecurrentBlock(nn.Module):
    """A convolutional GRU along rows, then one along columns."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convgru1 = ConvGRU(self.channels, (1, 5), self.dtype)
        self.convgru2 = ConvGRU(self.channels, (5, 1), self.dtype)

    def precompute(self, context: Features) -> PyTree:
        """Constants of either GRU."""
        return self.convgru1.precompute(context), self.convgru2.precompute(context)

    def __call__(self, hidden: Features, motion: Features, context: PyTree) -> Features:
        of_rows, of_columns = context
        hidden = self.convgru1(hidden, motion, of_rows)
        return self.convgru2(hidden, motion, of_columns)


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
        self.convz = self._conv_params()
        self.convr = self._conv_params()
        self.convq = self._conv_params()

    def _conv_params(self) -> "ConvParams":
        return ConvParams(self.kernel, 3 * self.channels, self.channels)

    def precompute(self, context: Features) -> PyTree:
        """For both gates in one convolution, and for the candidate: the kernel of state
        and motion, and the sum of bias and context.
        """
        z_kernel, z_bias = self.convz()
        r_kernel, r_bias = self.convr()
        kernel = jnp.concatenate([z_kernel, r_kernel], -1)
        bias = jnp.concatenate([z_bias, r_bias], -1)
        gates = self._without_context(context, kernel, bias)
        candidate = self._without_context(context, *self.convq())
        return gates, candidate

    def _without_context(
        self, context: Features, kernel: Array, bias: Array
    ) -> tuple[Array, Array]:
        of_state, of_context, of_motion = jnp.split(kernel, 3, 2)
        constant = same_conv(context, of_context, self.dtype) + bias
        return jnp.concatenate([of_state, of_motion], 2), constant

    def __call__(self, hidden: Features, motion: Features, context: PyTree) -> Features:
        (gate_kernel, gate_constant), (kernel, constant) = context
        both = jnp.concatenate([hidden, motion], -1)
        gates = same_conv(both, gate_kernel, self.dtype) + gate_constant
        update, reset = jnp.split(nn.sigmoid(gates), 2, -1)
        both = jnp.concatenate([reset * hidden, motion], -1)
        candidate = same_conv(both, kernel, self.dtype) + constant
        return (1 - update) * hidden + update * jnp.tanh(candidate)


class ConvParams(nn.Module):
    """Kernel and bias of a convolution that is computed in parts."""

    kernel: tuple[int, int]
    in_channels: int
    channels: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        bias = jnp.asarray(bias)
        output_first = stored(self, "kernel_ohwi")
        if output_first is not None:
            # XLA sees through the transposition
            return output_first.transpose(1, 2, 3, 0), bias
        shape = (*self.kernel, self.in_channels, self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return jnp.asarray(kernel), bias


def same_conv(x: Features, kernel: Float[Array, "kh kw c d"], dtype: Any) -> Features:
    """Stride 1, an odd kernel, as large as the input."""
    height, width, _, _ = kernel.shape
    rows = (height // 2, height // 2)
    columns = (width // 2, width // 2)
    return plain_conv(x.astype(dtype), kernel.astype(dtype), rows, columns)


def _pad_channels(x: Array, before: int, after: int) -> Array:
    """Channels of zeros in front and behind."""
    padding = [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, [*padding, (before, after)])


class FlowHead(nn.Module):
    """GRU state to a change of flow at 1/8 size."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.conv1 = conv(self.channels, 3, dtype=self.dtype)
        self.conv2 = conv(2, 3, dtype=self.dtype)

    def __call__(self, hidden: Features) -> Features:
        return self.conv2(nn.relu(self.conv1(hidden)))


class MaskPredictor(nn.Module):
    """GRU state to the logits of the convex upsampling, [b, h, w, 9*8*8]."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convrelu = [conv(self.channels * 4, 3, dtype=self.dtype)]
        self.conv = conv(9 * STRIDE**2, 1, dtype=self.dtype)

    def __call__(self, hidden: Features) -> Features:
        x = nn.relu(self.convrelu[0](hidden))
        logits = self.conv(x).astype(jnp.float32)
        # a quarter: RAFT balances the gradients of mask and flow so; the trained
        # weights contain it
        return 0.25 * logits


def grid(flow: Flow) -> Float[Array, "h w 2"]:
    """Returns the position (x, y) of every pixel, [h, w, 2]."""
    _, height, width, _ = flow.shape
    positions = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    return jnp.stack(positions, -1).astype(flow.dtype)


def upsample(flow: Flow, logits: Float[Array, "b h w 576"]) -> FineFlow:
    """Flow at 1/8 size to full size and full-size pixels: softmax-weighted means of 3x3
    coarse neighbours.
    """
    b, h, w, _ = flow.shape
    logits = logits.reshape(b, h, w, 9, STRIDE, STRIDE)
    weights = nn.softmax(logits, axis=3)
    padded = jnp.pad(STRIDE * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    neighbours = jnp.stack(shifted, 3)
    # a reduced matrix precision would round positions of hundreds of pixels
    fine = jnp.einsum("bijkyx,bijkc->biyjxc", weights, neighbours, precision="highest")
    return fine.reshape(b, STRIDE * h, STRIDE * w, 2)
