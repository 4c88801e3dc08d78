"""Resampling of NHWC images by integer factors, written as a few shifted sums: linear
in pixels, exact in float32.

Two bicubic kernels are in use and must not be confused: upsampling is PyTorch's (a =
-0.75, edge pixels repeated, no antialias, docs/parity.md); downsampling is the
antialiased one of PIL and `jax.image.resize` (a = -0.5, weights renormalised at the
edges), the field's standard way to make LR from HR.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from sdvsr_jax.types import Array, Float


def upsample_bicubic(x: Float[Array, "b h w c"], scale: int) -> Float[Array, "b H W c"]:
    """`scale` times larger, as torch ``interpolate(mode='bicubic',
    align_corners=False)``; not clamped.
    """
    return _upsample(x, _upsampling_kernel(scale))


def downsample_bicubic(
    x: Float[Array, "b H W c"], scale: int
) -> Float[Array, "b h w c"]:
    """`scale` times smaller, as ``jax.image.resize(method='cubic', antialias=True)``;
    sides must divide.
    """
    _, height, width, _ = x.shape
    if height % scale or width % scale:
        raise ValueError(
            f"image of {width}x{height}, expected sides divisible by {scale}: crop or pad it first"
        )
    return _downsample_axis(_downsample_axis(x, 1, scale), 2, scale)


def resize_nearest(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Output pixel i takes input pixel floor(i * in / out): torch 'nearest', not the
    half-pixel form.
    """
    for axis, size in ((1, height), (2, width)):
        old = x.shape[axis]
        # Doubling (the usual case, also with a last row cut off) is a repeat, which is
        # cheaper than a gather.
        if old == -(-size // 2):
            x = jax.lax.slice_in_dim(jnp.repeat(x, 2, axis), 0, size, axis=axis)
        elif old != size:
            x = jnp.take(x, np.arange(size) * old // size, axis)
    return x


def resize_linear(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Bilinear without antialias, half-pixel centres, edges repeated (torch
    ``align_corners=False``).
    """
    b, old_height, old_width, c = x.shape
    scale = height // old_height
    if (height, width) == (scale * old_height, scale * old_width):
        return _upsample(x, _linear_kernel(scale))
    return jax.image.resize(x, (b, height, width, c), "linear", antialias=False)


def mean_pool(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Mean over factor x factor cells; rows and columns that do not fill a cell are
    dropped (torch avg_pool).
    """
    height, width = (size // factor * factor for size in x.shape[1:3])
    cells = rearrange(
        x[:, :height, :width], "b (h p) (w q) c -> b h p w q c", p=factor, q=factor
    )
    return cells.mean((2, 4))


def fold(x: Float[Array, "b H W c"], factor: int) -> Float[Array, "b h w d"]:
    """Space to depth: each factor x factor cell becomes factor**2 * c channels."""
    return rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=factor, q=factor)


def unfold(x: Float[Array, "b h w d"], factor: int) -> Float[Array, "b H W c"]:
    """Depth to space, the inverse of `fold`."""
    return rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=factor, q=factor)


def pad_edges(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Grow to height x width at the bottom and right by repeating the edge pixels."""
    return jnp.pad(
        x,
        ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)),
        mode="edge",
    )


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel at the given distances."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@functools.cache
def _upsampling_kernel(scale: int) -> np.ndarray:
    """Weights [phase, tap]; tap k of output scale*i + phase is input pixel i + k - 2."""
    return _cubic(_phases(scale)[:, None] - np.arange(-2, 3), a=-0.75).astype(
        np.float32
    )


@functools.cache
def _linear_kernel(scale: int) -> np.ndarray:
    """Weights [phase, tap]; tap k of output scale*i + phase is input pixel i + k - 1."""
    return np.maximum(0, 1 - np.abs(_phases(scale)[:, None] - np.arange(-1, 2))).astype(
        np.float32
    )


def _phases(scale: int) -> np.ndarray:
    """Where the outputs of one input pixel lie, in input pixels from its centre."""
    return (np.arange(scale) + 0.5) / scale - 0.5


@functools.cache
def _downsampling_kernel(scale: int) -> np.ndarray:
    """Weights [tap]; tap j of output i is input pixel scale*i + j - 3*scale/2 (rounded
    down).
    """
    taps = np.arange(5 * scale) - 2 * scale
    kernel = _cubic((taps - (scale - 1) / 2) / scale, a=-0.5)
    return (kernel / kernel.sum()).astype(np.float32)


def _upsample(x: Array, kernel: np.ndarray) -> Array:
    return _upsample_axis(_upsample_axis(x, 1, kernel), 2, kernel)


def _upsample_axis(x: Array, axis: int, kernel: np.ndarray) -> Array:
    size, count = x.shape[axis], kernel.shape[1]
    padded = jnp.take(
        x, np.clip(np.arange(-(count // 2), size + count // 2), 0, size - 1), axis
    )
    taps = [jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(count)]
    phases = [
        sum(float(w) * tap for w, tap in zip(row, taps) if w != 0) for row in kernel
    ]
    shape = (*x.shape[:axis], size * len(phases), *x.shape[axis + 1 :])
    return jnp.stack(phases, axis + 1).reshape(shape)


def _downsample_axis(x: Array, axis: int, scale: int) -> Array:
    kernel = _downsampling_kernel(scale)
    small = x.shape[axis] // scale
    pad = [(0, 0)] * x.ndim
    pad[axis] = (2 * scale, 2 * scale)
    padded = jnp.pad(x, pad)
    inside = np.pad(np.ones(x.shape[axis], np.float32), 2 * scale)
    total, weight = jnp.zeros((), x.dtype), np.zeros(small, np.float32)
    for tap in np.flatnonzero(kernel):
        stop = int(tap) + (small - 1) * scale + 1
        w = float(kernel[tap])
        total = total + w * jax.lax.slice_in_dim(padded, int(tap), stop, scale, axis)
        weight += w * inside[tap:stop:scale]
    return total / weight.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
