"""RAFT-large optical flow (Teed & Deng 2020), in the parameter layout of torchvision.

1. encode both images at 1/8 size; correlate all pairs of their features
2. refine the flow `num_updates` times: look up correlations where the flow points,
   update a convolutional GRU
3. upsample the last flow: every pixel is a learned convex combination of its 3x3 coarse
   neighbours
"""

import itertools
from collections.abc import Sequence
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
        # instance norm here, batch norm there, as published
        self.feature_encoder = FeatureEncoder(c, batch_norm=False, dtype=dtype)
        self.context_encoder = FeatureEncoder(c, batch_norm=True, dtype=dtype)
        self.update_block = UpdateBlock(c, dtype)
        self.mask_predictor = MaskPredictor(c, dtype)

    def choose_frame(self, lr: LRFrame, up: SRFrame) -> SRFrame:
        """The bicubic frame: RAFT was trained on images of that size."""
        del lr
        # with its overshoot beyond [-1, 1], as the published code does (docs/parity.md)
        return up

    def features(self, image: Image) -> Features:
        """Returns the features that correlation compares, [b, H/8, W/8, 4*channels]:
        the part of an image worth keeping for the next.
        """
        _, height, width, _ = image.shape
        is_whole = height % STRIDE == 0 and width % STRIDE == 0
        if not is_whole or min(height, width) < MIN_SIZE:
            raise ValueError(
                f"RAFT got a {width}x{height} image, expected sides that are multiples "
                f"of {STRIDE} and at least {MIN_SIZE}: pad the image"
            )
        features = self.feature_encoder(image)
        return features.astype(jnp.float32)

    def context(self, image: Image) -> tuple[Features, PyTree]:
        """Returns the first GRU state [b, H/8, W/8, 2*channels], and the constants of
        all updates.
        """
        both = self.context_encoder(image)
        both = both.astype(jnp.float32)
        # one encoder for both: the first half starts the GRU, the other never changes
        hidden, context = jnp.split(both, 2, -1)
        context = nn.relu(context)
        constants = self.update_block.precompute(context)
        return jnp.tanh(hidden), constants

    def __call__(
        self, image: Image, features: Features, prev_features: Features
    ) -> FineFlow:
        """Returns the flow [b,H,W,2] (x, y) in pixels from `image` to the previous one;
        features are those of `features()`.
        """
        # outside of the loop: all updates read it
        lookup = make_lookup(features, prev_features, self.config.correlation)
        hidden, context = self.context(image)
        batch, height, width, _ = hidden.shape
        flow = jnp.zeros((batch, height, width, 2), jnp.float32)

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
        logits = self.mask_predictor(hidden)
        return upsample(flow, logits)

    def update(
        self, lookup: Lookup, hidden: Features, context: PyTree, flow: Flow
    ) -> tuple[Features, Flow]:
        """One refinement of the GRU state and of the flow at 1/8 size."""
        # no half-pixel correction on coarse levels, as published
        positions = grid(flow) + flow
        correlations = lookup(positions)
        hidden, change = self.update_block(hidden, context, correlations, flow)
        return hidden, flow + change


class UpdateBlock(nn.Module):
    """(GRU state, constants, correlations, flow) -> (new state, change of flow)."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        # 128 and 256 in RAFT-large, whose first stage has 64
        state_channels = self.channels * 2
        head_channels = self.channels * 4
        self.motion_encoder = MotionEncoder(self.channels, self.dtype)
        self.recurrent_block = RecurrentBlock(state_channels, self.dtype)
        self.flow_head = FlowHead(head_channels, self.dtype)

    def precompute(self, context: Features) -> PyTree:
        """The constants of all updates: a kernel in the form that the motion encoder
        reads, and the context's part of the GRU.
        """
        last_conv = self.motion_encoder.precompute()
        gru = self.recurrent_block.precompute(context)
        return last_conv, gru

    def __call__(
        self, hidden: Features, constants: PyTree, correlations: Features, flow: Flow
    ) -> tuple[Features, Flow]:
        last_conv, context = constants
        motion = self.motion_encoder(correlations, flow, last_conv)
        hidden = self.recurrent_block(hidden, motion, context)
        change = self.flow_head(hidden)
        return hidden, change.astype(jnp.float32)


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
        # lists, because the published layout numbers the layers
        self.convcorr1 = [conv(c * 4, kernel=1, dtype=self.dtype)]
        self.convcorr2 = [conv(c * 3, dtype=self.dtype)]
        self.convflow1 = [conv(c * 2, kernel=7, dtype=self.dtype)]
        self.convflow2 = [conv(c, dtype=self.dtype)]
        last_conv = ConvParams(
            kernel=(3, 3),
            in_channels=c * 4,
            # the flow's two channels make it 2 c
            channels=c * 2 - 2,
        )
        self.conv = [last_conv]

    def precompute(self) -> tuple[Array, Array]:
        """Kernel and bias of the last convolution with two channels of zeros."""
        (last_conv,) = self.conv
        kernel, bias = last_conv()
        kernel = _pad_channels(kernel, 0, 2)
        bias = _pad_channels(bias, 0, 2)
        return kernel, bias

    def __call__(
        self,
        correlations: Float[Array, f"b h w {NUM_CHANNELS}"],
        flow: Flow,
        last_conv: tuple[Array, Array],
    ) -> Array:
        kernel, bias = last_conv
        corr = _conv_relu(self.convcorr1, correlations)
        corr = _conv_relu(self.convcorr2, corr)
        motion = _conv_relu(self.convflow1, flow)
        motion = _conv_relu(self.convflow2, motion)
        both = jnp.concatenate([corr, motion], -1)
        sums = same_conv(both, kernel, self.dtype)
        motion = nn.relu(sums + bias)
        *_, num_channels = motion.shape
        flow_at_end = _pad_channels(flow, num_channels - 2, 0)
        return motion + flow_at_end


def _conv_relu(layers: Sequence[nn.Module], x: Features) -> Features:
    """The one layer of the list, then a ReLU."""
    (layer,) = layers
    return nn.relu(layer(x))


class RecurrentBlock(nn.Module):
    """A convolutional GRU along rows, then one along columns."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.convgru1 = ConvGRU(self.channels, kernel=(1, 5), dtype=self.dtype)
        self.convgru2 = ConvGRU(self.channels, kernel=(5, 1), dtype=self.dtype)

    def precompute(self, context: Features) -> PyTree:
        """Constants of either GRU."""
        of_rows = self.convgru1.precompute(context)
        of_columns = self.convgru2.precompute(context)
        return of_rows, of_columns

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
        return ConvParams(
            kernel=self.kernel,
            in_channels=3 * self.channels,
            channels=self.channels,
        )

    def precompute(self, context: Features) -> PyTree:
        """For both gates in one convolution, and for the candidate: the kernel of state
        and motion, and the sum of bias and context.
        """
        z_kernel, z_bias = self.convz()
        r_kernel, r_bias = self.convr()
        kernel = jnp.concatenate([z_kernel, r_kernel], -1)
        bias = jnp.concatenate([z_bias, r_bias], -1)
        gates = self._without_context(context, kernel, bias)
        q_kernel, q_bias = self.convq()
        candidate = self._without_context(context, q_kernel, q_bias)
        return gates, candidate

    def _without_context(
        self, context: Features, kernel: Array, bias: Array
    ) -> tuple[Array, Array]:
        # the published kernels take the state, the context and the motion in this order
        of_state, of_context, of_motion = jnp.split(kernel, 3, 2)
        constant = same_conv(context, of_context, self.dtype)
        constant = constant + bias
        others = jnp.concatenate([of_state, of_motion], 2)
        return others, constant

    def __call__(self, hidden: Features, motion: Features, context: PyTree) -> Features:
        of_gates, of_candidate = context
        gates = self._sum(hidden, motion, of_gates)
        gates = nn.sigmoid(gates)
        update, reset = jnp.split(gates, 2, -1)
        rest = reset * hidden
        candidate = self._sum(rest, motion, of_candidate)
        old = (1 - update) * hidden
        new = update * jnp.tanh(candidate)
        return old + new

    def _sum(
        self, hidden: Features, motion: Features, part: tuple[Array, Array]
    ) -> Features:
        """The convolution of state and motion, and the context's constant."""
        kernel, constant = part
        both = jnp.concatenate([hidden, motion], -1)
        product = same_conv(both, kernel, self.dtype)
        return product + constant


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
            kernel = output_first.transpose(1, 2, 3, 0)
            return kernel, bias
        init = nn.initializers.lecun_normal()
        shape = (*self.kernel, self.in_channels, self.channels)
        kernel = self.param("kernel", init, shape)
        return jnp.asarray(kernel), bias


def same_conv(x: Features, kernel: Float[Array, "kh kw c d"], dtype: Any) -> Features:
    """Stride 1, an odd kernel, as large as the input."""
    height, width, _, _ = kernel.shape
    above = height // 2
    left = width // 2
    x = x.astype(dtype)
    kernel = kernel.astype(dtype)
    return plain_conv(
        x,
        kernel,
        rows=(above, above),
        columns=(left, left),
    )


def _pad_channels(x: Array, before: int, after: int) -> Array:
    """Channels of zeros in front and behind."""
    padding = [(0, 0)] * x.ndim
    padding[-1] = (before, after)
    return jnp.pad(x, padding)


class FlowHead(nn.Module):
    """GRU state to a change of flow at 1/8 size."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.conv1 = conv(self.channels, dtype=self.dtype)
        self.conv2 = conv(2, dtype=self.dtype)

    def __call__(self, hidden: Features) -> Features:
        x = self.conv1(hidden)
        x = nn.relu(x)
        return self.conv2(x)


class MaskPredictor(nn.Module):
    """GRU state to the logits of the convex upsampling, [b, h, w, 9*8*8]."""

    channels: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        width = self.channels * 4
        # nine weights for each of the pixels that one position becomes
        num_logits = 9 * STRIDE**2
        self.convrelu = [conv(width, dtype=self.dtype)]
        self.conv = conv(num_logits, kernel=1, dtype=self.dtype)

    def __call__(self, hidden: Features) -> Features:
        x = _conv_relu(self.convrelu, hidden)
        logits = self.conv(x)
        logits = logits.astype(jnp.float32)
        # a quarter: RAFT balances the gradients of mask and flow so; the trained
        # weights contain it
        return 0.25 * logits


def grid(flow: Flow) -> Float[Array, "h w 2"]:
    """Returns the position (x, y) of every pixel, [h, w, 2]."""
    _, height, width, _ = flow.shape
    columns = jnp.arange(width)
    rows = jnp.arange(height)
    positions = jnp.meshgrid(columns, rows)
    both = jnp.stack(positions, -1)
    return both.astype(flow.dtype)


def upsample(flow: Flow, logits: Float[Array, "b h w 576"]) -> FineFlow:
    """Flow at 1/8 size to full size and full-size pixels: softmax-weighted means of 3x3
    coarse neighbours.
    """
    b, h, w, _ = flow.shape
    logits = logits.reshape(b, h, w, 9, STRIDE, STRIDE)
    weights = nn.softmax(logits, axis=3)
    in_full_pixels = STRIDE * flow
    neighbours = _neighbours(in_full_pixels)
    # a reduced matrix precision would round positions of hundreds of pixels
    fine = jnp.einsum(
        "bijkyx,bijkc->biyjxc",
        weights,
        neighbours,
        precision="highest",
    )
    return fine.reshape(b, STRIDE * h, STRIDE * w, 2)


def _neighbours(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 9 c"]:
    """The 3x3 pixels around every pixel, zeros outside."""
    _, height, width, _ = x.shape
    none = (0, 0)
    one = (1, 1)
    padded = jnp.pad(x, (none, one, one, none))
    # rows first, the order in which the published mask has its nine weights
    shifted = []
    for row, column in itertools.product(range(3), range(3)):
        rows = slice(row, row + height)
        columns = slice(column, column + width)
        shifted.append(padded[:, rows, columns])
    return jnp.stack(shifted, 3)
