"""Layers of the U-Net and the guidance branch; attribute names are the published
checkpoint's key segments.

Every layer that depends on the timestep or on the prompt has a ``fold_*`` method that
turns that dependence into constants; ``__call__`` takes the constants. They are
computed once per model (`stream.prepare`), not per step.
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
from sdvsr_jax.ops.attention import attend
from sdvsr_jax.types import Array, Features, Float, PyTree


class RMSNorm(nn.Module):
    """x / rms over channels, per pixel: no statistics over the frame, so tiles and
    sizes agree.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        mean_square = jnp.mean(jnp.square(x.astype(jnp.float32)), -1, keepdims=True)
        return (x * jax.lax.rsqrt(mean_square + 1e-6).astype(x.dtype)) * scale.astype(
            x.dtype
        )


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
        b, height, width, channels = x.shape
        scale = self.param("scale", nn.initializers.ones, (channels,)).astype(
            jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(
            jnp.float32
        )
        groups = (b, self.num_groups, channels // self.num_groups)
        exact = x.astype(jnp.float32)
        middle = exact[:, height // 2, width // 2]
        distance = exact - middle[:, None, None]
        # the barrier keeps both sums of a row in the one kernel that reads x
        rows = jax.lax.optimization_barrier(
            tuple(_sums_of_rows(a) for a in (distance, jnp.square(distance)))
        )
        offset, square = (a.reshape(*groups, height) for a in rows)
        # to the distance from the first channel's middle pixel, which a whole group has
        # in common
        middle = middle.reshape(groups)
        step = (middle - middle[..., :1])[..., None]
        sums = (offset + step * width, square + step * (2 * offset + step * width))
        count = height * width * groups[2]
        offset, square = (a.reshape(*groups[:2], -1).sum(-1) / count for a in sums)
        # rounding must not make it negative where the middle is far from everything
        # else
        variance = jnp.maximum(square - jnp.square(offset), 0)
        mean, gain = (
            jnp.broadcast_to(a[..., None], groups).reshape(b, channels)
            for a in (middle[..., 0] + offset, jax.lax.rsqrt(variance + self.epsilon))
        )
        gain = gain * scale
        return (
            exact * gain[:, None, None] + (bias - mean * gain)[:, None, None]
        ).astype(self.dtype)


def _sums_of_rows(x: Features) -> Float[Array, "b c h"]:
    """In the memory as well a channel's rows lie together; by itself XLA would sum them
    up in two kernels.
    """
    return jnp.swapaxes(with_layout_constraint(x.sum(2), Layout((0, 2, 1))), 1, 2)


def norm(kind: NormKind, groups: int, epsilon: float, dtype: DTypeLike) -> nn.Module:
    """GroupNorm with torch's statistics, or RMSNorm."""
    return RMSNorm() if kind == "rms" else GroupNorm(groups, epsilon, dtype)


def timestep_sinusoid(timesteps: Array, channels: int) -> Float[Array, "n c"]:
    """Cosines first, then sines; frequencies exp(-ln(10000) i / (channels/2))
    (diffusers, freq_shift 0).
    """
    half = channels // 2
    frequencies = jnp.exp(-math.log(10000) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = timesteps.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


class TimestepEmbedding(nn.Module):
    """timesteps [n] -> embedding [n, 4 * channels], float32."""

    channels: int

    def setup(self) -> None:
        self.linear_1 = nn.Dense(4 * self.channels)
        self.linear_2 = nn.Dense(4 * self.channels)

    def __call__(self, timesteps: Array) -> Float[Array, "n d"]:
        return self.linear_2(
            nn.silu(self.linear_1(timestep_sinusoid(timesteps, self.channels)))
        )


class ResnetBlock(nn.Module):
    """norm silu conv (+ time shift) norm silu conv, plus the (1x1 projected) input."""

    in_channels: int
    channels: int
    config: UNetConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        self.norm1 = norm(c.norm, c.num_groups, 1e-5, self.dtype)
        self.conv1 = conv(self.channels, dtype=self.dtype)
        self.time_emb_proj = nn.Dense(self.channels)
        self.norm2 = norm(c.norm, c.num_groups, 1e-5, self.dtype)
        self.conv2 = conv(self.channels, dtype=self.dtype)
        if self.in_channels != self.channels:
            self.conv_shortcut = conv(self.channels, kernel=1, dtype=self.dtype)

    def fold_time(self, embedding: Float[Array, "n d"]) -> Float[Array, "n c"]:
        """The shift that this block adds for each of n timesteps, with the bias of the
        convolution before it.
        """
        return self.conv1.shifted(self.time_emb_proj(nn.silu(embedding)))

    def __call__(self, x: Features, time_shift: Float[Array, "n c"]) -> Features:
        """n is 1 (one timestep for all rows) or b."""
        h = self.conv1(nn.silu(self.norm1(x)), time_shift)
        h = self.conv2(nn.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if self.in_channels != self.channels else x)


class CrossAttention(nn.Module):
    """Multi-head attention; ``fold`` makes keys and values of a context, which may be
    the input itself.
    """

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

    def fold(self, context: Float[Array, "b t d"]) -> tuple[Array, Array]:
        """Keys and values [b, t, heads, d]."""
        return self._heads(self.to_k(context)), self._heads(self.to_v(context))

    def __call__(
        self, x: Float[Array, "b t c"], keys_values: tuple[Array, Array]
    ) -> Float[Array, "b t c"]:
        q = self._heads(self.to_q(x))
        k, v = (
            jnp.broadcast_to(a.astype(q.dtype), (x.shape[0], *a.shape[1:]))
            for a in keys_values
        )
        return self.to_out_0(rearrange(attend(q, k, v), "b t n d -> b t (n d)"))


class GEGLU(nn.Module):
    """Linear to value and gate; value * gelu(gate), the exact erf form."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.proj = Dense(2 * self.channels, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        value, gate = jnp.split(self.proj(x), 2, -1)
        # by erf: flax's form takes erfc, two branches and an exponential on a GPU
        gate = gate.astype(jnp.float32)
        return (
            value * (gate * (0.5 + 0.5 * jax.lax.erf(gate * math.sqrt(0.5))))
        ).astype(self.dtype)


class FeedForward(nn.Module):
    """GEGLU of four times the width, then back."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.net_0 = GEGLU(4 * self.channels, self.dtype)
        self.net_2 = Dense(self.channels, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
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
        self.norm1, self.norm2, self.norm3 = (
            nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, use_fast_variance=False)
            for _ in range(3)
        )
        self.attn1 = CrossAttention(self.channels, self.num_heads, self.dtype)
        self.attn2 = CrossAttention(self.channels, self.num_heads, self.dtype)
        self.ff = FeedForward(self.channels, self.dtype)

    def fold_text(self, text: Float[Array, "b t d"]) -> tuple[PyTree, PyTree]:
        """Keys and values of the prompt; attn1 has none where it is self-attention."""
        return (
            self.attn1.fold(text) if self.kind == "cross" else None,
            self.attn2.fold(text),
        )

    def __call__(
        self, x: Float[Array, "b t c"], text: tuple[PyTree, PyTree]
    ) -> Float[Array, "b t c"]:
        h = self.norm1(x)
        x = x + self.attn1(h, self.attn1.fold(h) if text[0] is None else text[0])
        x = x + self.attn2(self.norm2(x), text[1])
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """norm (1e-6 here, 1e-5 elsewhere), tokens in raster order, linear, one block,
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
            self.channels, c.num_heads, self.kind, self.dtype
        )
        self.proj_out = Dense(self.channels, dtype=self.dtype)

    def fold_text(self, text: Float[Array, "b t d"]) -> PyTree:
        return self.transformer_blocks_0.fold_text(text)

    def __call__(self, x: Features, text: PyTree) -> Features:
        tokens = rearrange(self.norm(x), "b h w c -> b (h w) c")
        tokens = self.proj_out(self.transformer_blocks_0(self.proj_in(tokens), text))
        return x + tokens.reshape(x.shape)


class Downsample(nn.Module):
    """3x3 convolution of stride 2, padding 1: odd sizes round up."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv = conv(self.channels, stride=2, dtype=self.dtype)

    def __call__(self, x: Features) -> Features:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest to the size of the next skip (not always twice), then a 3x3 convolution."""

    channels: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv = UpsampledConv(self.channels, True, self.dtype)

    def __call__(self, x: Features, height: int, width: int) -> Features:
        return self.conv(x, height, width)
