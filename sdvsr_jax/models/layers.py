"""Layers of the U-Net and the guidance branch; attribute names are the published
checkpoint's key segments.

Every layer that depends on the timestep or on the prompt has a ``precompute_*`` method
that turns that dependence into constants; ``__call__`` takes the constants. They are
computed once per model (`prepare.prepare`), not per step.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import DTypeLike

from sdvsr_jax.config import Attention, NormKind, UNetConfig
from sdvsr_jax.models.linear import Dense, UpsampledConv, conv
from sdvsr_jax.ops.attention import attend, device_kind
from sdvsr_jax.types import Array, Features, Float, Int, PyTree


class RMSNorm(nn.Module):
    """x / rms over channels, per pixel: no statistics over the frame, so tiles and
    sizes agree.
    """

    @nn.compact
    def __call__(self, x: Features) -> Features:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        exact = x.astype(jnp.float32)
        squares = jnp.square(exact)
        mean_square = jnp.mean(squares, -1, keepdims=True)
        # 1e-6: black pixels stay finite
        gain = jax.lax.rsqrt(mean_square + 1e-6)
        normal = x * gain.astype(x.dtype)
        return normal * scale.astype(x.dtype)


class GroupNorm(nn.Module):
    """Zero mean and unit variance over each group of channels of a frame (Wu and He
    2018), then scale and bias.

    Mean and variance in one pass over x, in float32. Near-constant frames occur, so
    sums are taken of the distance to the middle pixel: of x itself, E[x^2] - E[x]^2
    would cancel. A group's sums of rows lie in one piece, and at the end a pixel takes
    one product and one sum: four GPU kernels, not seven.
    """

    num_groups: int
    epsilon: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Features) -> Features:
        _, height, width, channels = x.shape
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        scale = scale.astype(jnp.float32)
        bias = bias.astype(jnp.float32)
        exact = x.astype(jnp.float32)
        middle_row = height // 2
        middle_column = width // 2
        centre = exact[:, middle_row, middle_column]
        distance = exact - centre[:, None, None]
        first_sums = _sums_of_rows(distance)
        second_sums = _sums_of_rows(jnp.square(distance))
        # the barrier keeps both sums of a row in the one kernel that reads x
        sums = jax.lax.optimization_barrier((first_sums, second_sums))
        mean, variance = self._of_groups(centre, sums, width)
        gain = jax.lax.rsqrt(variance + self.epsilon)
        mean = self._per_channel(mean, channels)
        gain = self._per_channel(gain, channels)
        gain = gain * scale
        offset = bias - mean * gain
        scaled = exact * gain[:, None, None]
        y = scaled + offset[:, None, None]
        return y.astype(self.dtype)

    def _per_channel(
        self, x: Float[Array, "b g"], channels: int
    ) -> Float[Array, "b c"]:
        """The number of a group for each of its channels."""
        batch, groups = x.shape
        size = channels // groups
        shape = (batch, groups, size)
        repeated = jnp.broadcast_to(x[..., None], shape)
        return repeated.reshape(batch, channels)

    def _of_groups(
        self, centre: Float[Array, "b c"], sums: tuple[Array, Array], width: int
    ) -> tuple[Float[Array, "b g"], Float[Array, "b g"]]:
        """Mean and variance per group, from sums of the rows [b, c, h] of distances to
        the middle pixel ``centre``, and of their squares.
        """
        first_sums, second_sums = sums
        b, channels, height = first_sums.shape
        size = channels // self.num_groups
        shape = (b, self.num_groups, size)
        distances = first_sums.reshape(*shape, height)
        squares = second_sums.reshape(*shape, height)
        # to the distance from the first channel's middle pixel, which a whole group has
        # in common
        centre = centre.reshape(shape)
        first_centre = centre[..., :1]
        step = (centre - first_centre)[..., None]
        row_steps = step * width
        shifted = distances + row_steps
        doubled = 2 * distances + row_steps
        shifted_squares = squares + step * doubled
        count = height * width * size
        offset = _sums_of_groups(shifted) / count
        square = _sums_of_groups(shifted_squares) / count
        variance = square - jnp.square(offset)
        # rounding must not make it negative where the middle is far from everything
        # else
        variance = jnp.maximum(variance, 0)
        mean = centre[..., 0] + offset
        return mean, variance


def _sums_of_groups(x: Float[Array, "b g s h"]) -> Float[Array, "b g"]:
    batch, groups, _, _ = x.shape
    return x.reshape(batch, groups, -1).sum(-1)


def _sums_of_rows(x: Features) -> Float[Array, "b c h"]:
    sums = x.sum(2)
    if device_kind()[0] == "cuda":
        # in the memory as well a channel's rows lie together; by itself XLA would sum
        # them up in two kernels. Only there: a program with a constraint on its layout
        # cannot be kept in a file (jax.export), which every run on a CPU does
        sums = with_layout_constraint(sums, Layout((0, 2, 1)))
    return jnp.swapaxes(sums, 1, 2)


def norm(kind: NormKind, groups: int, epsilon: float, dtype: DTypeLike) -> nn.Module:
    """GroupNorm with torch's statistics, or RMSNorm."""
    return RMSNorm() if kind == "rms" else GroupNorm(groups, epsilon, dtype)


def timestep_sinusoid(
    timesteps: Int[Array, " n"], channels: int
) -> Float[Array, "n c"]:
    """Cosines first, then sines; frequencies exp(-ln(10000) i / (channels/2))
    (diffusers, freq_shift 0).
    """
    # cosines first and no shift: the published embedding, unlike the usual one
    half = channels // 2
    index = jnp.arange(half, dtype=jnp.float32)
    slope = -math.log(10000)
    frequencies = jnp.exp(slope * index / half)
    times = timesteps.astype(jnp.float32)
    angles = times[:, None] * frequencies
    cosines = jnp.cos(angles)
    sines = jnp.sin(angles)
    return jnp.concatenate([cosines, sines], -1)


class TimestepEmbedding(nn.Module):
    """timesteps [n] -> embedding [n, 4 * channels], float32."""

    channels: int

    def setup(self) -> None:
        self.linear_1 = nn.Dense(4 * self.channels)
        self.linear_2 = nn.Dense(4 * self.channels)

    def __call__(self, timesteps: Int[Array, " n"]) -> Float[Array, "n d"]:
        x = timestep_sinusoid(timesteps, self.channels)
        return self.linear_2(nn.silu(self.linear_1(x)))


class ResnetBlock(nn.Module):
    """norm silu conv (+ time shift) norm silu conv, plus the (1x1 projected) input."""

    in_channels: int
    channels: int
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        # 1e-5 here and 1e-6 in the transformers, as published
        self.norm1 = norm(c.norm, c.num_groups, 1e-5, self.dtype)
        self.conv1 = conv(self.channels, dtype=self.dtype)
        self.time_emb_proj = nn.Dense(self.channels)
        self.norm2 = norm(c.norm, c.num_groups, 1e-5, self.dtype)
        self.conv2 = conv(self.channels, dtype=self.dtype)
        if self.in_channels != self.channels:
            self.conv_shortcut = conv(self.channels, kernel=1, dtype=self.dtype)

    def precompute_shift(self, embedding: Float[Array, "n d"]) -> Float[Array, "n c"]:
        """Returns the shift for each of n timesteps, the bias of `conv1` included."""
        shift = self.time_emb_proj(nn.silu(embedding))
        return self.conv1.shifted(shift)

    def __call__(self, x: Features, time_shift: Float[Array, "n c"]) -> Features:
        """n is 1 (one timestep for all rows) or b."""
        h = nn.silu(self.norm1(x))
        h = self.conv1(h, time_shift)
        h = nn.silu(self.norm2(h))
        h = self.conv2(h)
        if self.in_channels != self.channels:
            x = self.conv_shortcut(x)
        return h + x


class CrossAttention(nn.Module):
    """Multi-head attention to keys and values of a context, which may be the input."""

    channels: int
    num_heads: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.to_q = Dense(self.channels, use_bias=False, dtype=self.dtype)
        self.to_k = Dense(self.channels, use_bias=False, dtype=self.dtype)
        self.to_v = Dense(self.channels, use_bias=False, dtype=self.dtype)
        self.to_out_0 = Dense(self.channels, dtype=self.dtype)

    def _heads(self, x: Array) -> Array:
        return rearrange(x, "b t (n d) -> b t n d", n=self.num_heads)

    def keys_values(self, context: Float[Array, "b t d"]) -> tuple[Array, Array]:
        """Keys and values [b, t, heads, d]."""
        return self._heads(self.to_k(context)), self._heads(self.to_v(context))

    def __call__(
        self, x: Float[Array, "b t c"], keys_values: tuple[Array, Array]
    ) -> Float[Array, "b t c"]:
        batch = len(x)
        q = self._heads(self.to_q(x))
        keys, values = keys_values
        # the prompt's are computed once, and the same for all rows of the batch
        k = _for_all_rows(keys, batch, q.dtype)
        v = _for_all_rows(values, batch, q.dtype)
        out = attend(q, k, v)
        joined = rearrange(out, "b t n d -> b t (n d)")
        return self.to_out_0(joined)


def _for_all_rows(x: Array, batch: int, dtype: DTypeLike) -> Array:
    shape = (batch, *x.shape[1:])
    return jnp.broadcast_to(x.astype(dtype), shape)


class GEGLU(nn.Module):
    """Linear to value and gate; value * gelu(gate), the exact erf form."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.proj = Dense(2 * self.channels, dtype=self.dtype)

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        # the value first: papers and other code have the gate there
        both = self.proj(x)
        value, gate = jnp.split(both, 2, -1)
        gate = gate.astype(jnp.float32)
        # by erf: flax's form takes erfc, two branches and an exponential on a GPU
        share = 0.5 + 0.5 * jax.lax.erf(gate * math.sqrt(0.5))
        gated = value * (gate * share)
        return gated.astype(self.dtype)


class FeedForward(nn.Module):
    """GEGLU of four times the width, then back."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.net_0 = GEGLU(4 * self.channels, self.dtype)
        self.net_2 = Dense(self.channels, dtype=self.dtype)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        return self.net_2(self.net_0(x))


class TransformerBlock(nn.Module):
    """attn1, attn2, feed-forward, each on a LayerNorm (1e-5) and added."""

    channels: int
    num_heads: int
    kind: Attention
    dtype: DTypeLike

    def setup(self) -> None:
        # in two passes, as torch does it, and XLA makes one GPU kernel of it; of the
        # one-pass form three
        self.norm1 = self._layer_norm()
        self.norm2 = self._layer_norm()
        self.norm3 = self._layer_norm()
        self.attn1 = CrossAttention(self.channels, self.num_heads, self.dtype)
        self.attn2 = CrossAttention(self.channels, self.num_heads, self.dtype)
        self.ff = FeedForward(self.channels, self.dtype)

    def _layer_norm(self) -> nn.LayerNorm:
        return nn.LayerNorm(
            epsilon=1e-5,
            dtype=self.dtype,
            use_fast_variance=False,
        )

    def precompute_prompt(self, text: Float[Array, "b t d"]) -> tuple[PyTree, PyTree]:
        """Keys and values of the prompt; None for attn1 where it is self-attention."""
        first = self.attn1.keys_values(text) if self.kind == "cross" else None
        return first, self.attn2.keys_values(text)

    def __call__(
        self, x: Float[Array, "b t c"], prompt: tuple[PyTree, PyTree]
    ) -> Float[Array, "b t c"]:
        first, second = prompt
        h = self.norm1(x)
        # self-attention, where `precompute_prompt` gave no keys
        if first is None:
            first = self.attn1.keys_values(h)
        x = x + self.attn1(h, first)
        h = self.norm2(x)
        x = x + self.attn2(h, second)
        h = self.norm3(x)
        return x + self.ff(h)


class Transformer(nn.Module):
    """Norm (1e-6 here, 1e-5 elsewhere), tokens in raster order, linear, one block,
    linear, plus the input.
    """

    channels: int
    config: UNetConfig
    kind: Attention
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        self.norm = norm(c.norm, c.num_groups, 1e-6, self.dtype)
        self.proj_in = Dense(self.channels, dtype=self.dtype)
        self.transformer_blocks_0 = TransformerBlock(
            self.channels,
            c.num_heads,
            self.kind,
            self.dtype,
        )
        self.proj_out = Dense(self.channels, dtype=self.dtype)

    def precompute_prompt(self, text: Float[Array, "b t d"]) -> PyTree:
        """Keys and values of the prompt."""
        return self.transformer_blocks_0.precompute_prompt(text)

    def __call__(self, x: Features, prompt: PyTree) -> Features:
        normal = self.norm(x)
        tokens = rearrange(normal, "b h w c -> b (h w) c")
        tokens = self.proj_in(tokens)
        tokens = self.transformer_blocks_0(tokens, prompt)
        change = self.proj_out(tokens)
        return x + change.reshape(x.shape)


class Downsample(nn.Module):
    """3x3 convolution of stride 2, padding 1: odd sizes round up."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv = conv(self.channels, stride=2, dtype=self.dtype)

    def __call__(self, x: Features) -> Features:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest to the size of the next skip (not always twice), then a 3x3 conv."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv = UpsampledConv(self.channels, True, self.dtype)

    def __call__(self, x: Features, height: int, width: int) -> Features:
        return self.conv(x, height, width)
