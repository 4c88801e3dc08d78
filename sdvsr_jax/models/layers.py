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
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        # squares of 16-bit activations would overflow or lose their digits
        exact = x.astype(jnp.float32)
        squares = jnp.square(exact)
        mean_square = jnp.mean(squares, -1, keepdims=True)
        # 1e-6: black pixels stay finite
        gain = jax.lax.rsqrt(mean_square + 1e-6)
        gain = gain.astype(x.dtype)
        scale = scale.astype(x.dtype)
        normal = x * gain
        return normal * scale


class GroupNorm(nn.Module):
    """(x - E[x]) / sqrt(Var[x] + epsilon) * scale + bias, over each group of channels
    of a frame (Wu and He 2018).

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
        shape = (channels,)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        scale = scale.astype(jnp.float32)
        bias = bias.astype(jnp.float32)
        exact = x.astype(jnp.float32)
        middle_row = height // 2
        middle_column = width // 2
        centre = exact[:, middle_row, middle_column]
        distance = exact - centre[:, None, None]
        first_sums = _sums_of_rows(distance)
        squares = jnp.square(distance)
        second_sums = _sums_of_rows(squares)
        # the barrier keeps both sums of a row in the one kernel that reads x
        sums = jax.lax.optimization_barrier((first_sums, second_sums))
        mean, variance = self._of_groups(centre, sums, width)
        gain = jax.lax.rsqrt(variance + self.epsilon)
        mean = self._per_channel(mean, channels)
        gain = self._per_channel(gain, channels)
        gain = gain * scale
        offset = bias - mean * gain
        # all of a channel's constants in two numbers: one product and one sum a pixel
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
        step = centre - first_centre
        step = step[..., None]
        row_steps = step * width
        shifted = distances + row_steps
        # (d + s)^2 = d^2 + s (2 d + s), summed over a row
        doubled = 2 * distances + row_steps
        change = step * doubled
        shifted_squares = squares + change
        count = height * width * size
        offset = _sums_of_groups(shifted) / count
        mean_square = _sums_of_groups(shifted_squares) / count
        variance = mean_square - jnp.square(offset)
        # rounding must not make it negative where the middle is far from everything
        # else
        variance = jnp.maximum(variance, 0)
        first_centre = centre[..., 0]
        mean = first_centre + offset
        return mean, variance


def _sums_of_groups(x: Float[Array, "b g s h"]) -> Float[Array, "b g"]:
    batch, groups, _, _ = x.shape
    members = x.reshape(batch, groups, -1)
    return members.sum(-1)


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
    if kind == "rms":
        return RMSNorm()
    return GroupNorm(groups, epsilon, dtype)


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
    exponents = slope * index / half
    frequencies = jnp.exp(exponents)
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
        x = self.linear_1(x)
        x = nn.silu(x)
        return self.linear_2(x)


class ResnetBlock(nn.Module):
    """norm silu conv (+ time shift) norm silu conv, plus the (1x1 projected) input."""

    in_channels: int
    channels: int
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        self.norm1 = self._norm()
        self.conv1 = conv(self.channels, dtype=self.dtype)
        # in float32: it runs once per model, and its sum with a bias is rounded once
        self.time_emb_proj = nn.Dense(self.channels)
        self.norm2 = self._norm()
        self.conv2 = conv(self.channels, dtype=self.dtype)
        if self.in_channels != self.channels:
            self.conv_shortcut = conv(self.channels, kernel=1, dtype=self.dtype)

    def _norm(self) -> nn.Module:
        # 1e-5 here and 1e-6 in the transformers, as published
        return norm(
            self.config.norm,
            self.config.num_groups,
            epsilon=1e-5,
            dtype=self.dtype,
        )

    def precompute_shift(self, embedding: Float[Array, "n d"]) -> Float[Array, "n c"]:
        """Returns the shift for each of n timesteps, the bias of `conv1` included."""
        x = nn.silu(embedding)
        shift = self.time_emb_proj(x)
        return self.conv1.shifted(shift)

    def __call__(self, x: Features, time_shift: Float[Array, "n c"]) -> Features:
        """n is 1 (one timestep for all rows) or b."""
        h = self.norm1(x)
        h = nn.silu(h)
        h = self.conv1(h, time_shift)
        h = self.norm2(h)
        h = nn.silu(h)
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
        self.to_q = self._projection()
        self.to_k = self._projection()
        self.to_v = self._projection()
        self.to_out_0 = Dense(self.channels, dtype=self.dtype)

    def _projection(self) -> Dense:
        return Dense(self.channels, use_bias=False, dtype=self.dtype)

    def _heads(self, x: Array) -> Array:
        return rearrange(x, "b t (n d) -> b t n d", n=self.num_heads)

    def keys_values(self, context: Float[Array, "b t d"]) -> tuple[Array, Array]:
        """Keys and values [b, t, heads, d]."""
        keys = self._heads(self.to_k(context))
        values = self._heads(self.to_v(context))
        return keys, values

    def __call__(
        self, x: Float[Array, "b t c"], keys_values: tuple[Array, Array]
    ) -> Float[Array, "b t c"]:
        batch = len(x)
        queries = self.to_q(x)
        q = self._heads(queries)
        keys, values = keys_values
        # the prompt's are computed once, and the same for all rows of the batch
        k = _for_all_rows(keys, batch, q.dtype)
        v = _for_all_rows(values, batch, q.dtype)
        out = attend(q, k, v)
        joined = rearrange(out, "b t n d -> b t (n d)")
        return self.to_out_0(joined)


def _for_all_rows(x: Array, batch: int, dtype: DTypeLike) -> Array:
    _, *sizes = x.shape
    shape = (batch, *sizes)
    x = x.astype(dtype)
    return jnp.broadcast_to(x, shape)


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
        sign = jax.lax.erf(gate * math.sqrt(0.5))
        share = 0.5 + 0.5 * sign
        activation = gate * share
        gated = value * activation
        return gated.astype(self.dtype)


class FeedForward(nn.Module):
    """GEGLU of four times the width, then back."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.net_0 = GEGLU(4 * self.channels, self.dtype)
        self.net_2 = Dense(self.channels, dtype=self.dtype)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        h = self.net_0(x)
        return self.net_2(h)


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
        self.attn1 = self._attention()
        self.attn2 = self._attention()
        self.ff = FeedForward(self.channels, self.dtype)

    def _attention(self) -> CrossAttention:
        return CrossAttention(
            channels=self.channels,
            num_heads=self.num_heads,
            dtype=self.dtype,
        )

    def _layer_norm(self) -> nn.LayerNorm:
        return nn.LayerNorm(
            # torch's; flax has 1e-6
            epsilon=1e-5,
            dtype=self.dtype,
            use_fast_variance=False,
        )

    def precompute_prompt(self, text: Float[Array, "b t d"]) -> tuple[PyTree, PyTree]:
        """Keys and values of the prompt; None for attn1 where it is self-attention."""
        first = None
        # then both attend to the text: the published model has self-attention in its
        # deepest level only
        if self.kind == "cross":
            first = self.attn1.keys_values(text)
        second = self.attn2.keys_values(text)
        return first, second

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
        self.norm = norm(
            c.norm,
            c.num_groups,
            epsilon=1e-6,
            dtype=self.dtype,
        )
        self.proj_in = Dense(self.channels, dtype=self.dtype)
        self.transformer_blocks_0 = TransformerBlock(
            channels=self.channels,
            num_heads=c.num_heads,
            kind=self.kind,
            dtype=self.dtype,
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
        change = change.reshape(x.shape)
        return x + change


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
        self.conv = UpsampledConv(self.channels, use_bias=True, dtype=self.dtype)

    def __call__(self, x: Features, height: int, width: int) -> Features:
        return self.conv(x, height, width)
