"""Resampling of NHWC images by integer factors, written as a few shifted sums: linear
in pixels, exact in float32.

Two bicubic kernels are in use and must not be confused: upsampling is PyTorch's (a =
-0.75, edge pixels repeated, no antialias, docs/parity.md); downsampling is the
antialiased one of PIL and `jax.image.resize` (a = -0.5, weights renormalised at the
edges), the field's standard way to make LR from HR.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from sdvsr_jax.types import Array, Float


def upsample_bicubic(x: Float[Array, "b h w c"], scale: int) -> Float[Array, "b H W c"]:
    """`scale` times larger, as torch ``interpolate(mode='bicubic',
    align_corners=False)``; not clamped.
    """
    kernel = _upsampling_kernel(scale)
    return _upsample(x, kernel)


def downsample_bicubic(
    x: Float[Array, "b H W c"], scale: int
) -> Float[Array, "b h w c"]:
    """`scale` times smaller, as ``jax.image.resize(method='cubic', antialias=True)``;
    sides must divide.
    """
    _, height, width, _ = x.shape
    if height % scale or width % scale:
        raise ValueError(
            f"image of {width}x{height}, expected sides divisible by {scale}: crop or "
            "pad it first"
        )
    x = _downsample_axis(x, 1, scale)
    return _downsample_axis(x, 2, scale)


def resize_nearest(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Output pixel i takes input pixel floor(i * in / out): torch 'nearest', not the
    half-pixel form.
    """
    for axis, size in ((1, height), (2, width)):
        old = x.shape[axis]
        # rounded up
        half = -(-size // 2)
        # doubling (the usual case, also with a last row cut off) is a repeat, which is
        # cheaper than a gather
        if old == half:
            doubled = jnp.repeat(x, 2, axis)
            x = jax.lax.slice_in_dim(doubled, 0, size, axis=axis)
        elif old != size:
            outputs = np.arange(size)
            index = outputs * old // size
            x = jnp.take(x, index, axis=axis)
    return x


def resize_linear(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Bilinear without antialias, half-pixel centres, edges repeated (torch
    ``align_corners=False``).
    """
    batch, old_height, old_width, channels = x.shape
    scale = height // old_height
    multiple = (scale * old_height, scale * old_width)
    # by a whole factor as shifted sums: a CPU takes far longer for JAX's gathers
    if (height, width) == multiple:
        kernel = _linear_kernel(scale)
        return _upsample(x, kernel)
    shape = (batch, height, width, channels)
    return jax.image.resize(x, shape, "linear", antialias=False)


def mean_pool(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Mean over factor x factor cells; rows and columns that do not fill a cell are
    dropped (torch avg_pool).
    """
    _, height, width, _ = x.shape
    whole_height = height // factor * factor
    whole_width = width // factor * factor
    covered = x[:, :whole_height, :whole_width]
    cells = rearrange(covered, "b (h p) (w q) c -> b h p w q c", p=factor, q=factor)
    return cells.mean((2, 4))


def space_to_depth(x: Float[Array, "b H W c"], factor: int) -> Float[Array, "b h w d"]:
    """Each factor x factor cell becomes factor**2 * c channels."""
    return rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=factor, q=factor)


def depth_to_space(x: Float[Array, "b h w d"], factor: int) -> Float[Array, "b H W c"]:
    """The inverse of `space_to_depth`."""
    return rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=factor, q=factor)


def pad_edges(
    x: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b h2 w2 c"]:
    """Grows to height x width at the bottom and right by repeating the edge pixels."""
    _, old_height, old_width, _ = x.shape
    below = height - old_height
    right = width - old_width
    x = repeat_edges(x, axis=1, before=0, after=below)
    return repeat_edges(x, axis=2, before=0, after=right)


def repeat_edges(x: Float[Array, "*b"], axis: int, before: int, after: int) -> Array:
    """Repeats the first and the last entries of an axis so many times."""
    # not jnp.pad: it also repeats every other axis 0 times, and exporters stumble over
    # arrays of nothing
    if before == after == 0:
        return x
    size = x.shape[axis]
    positions = np.arange(-before, size + after)
    nearest = np.clip(positions, 0, size - 1)
    return jnp.take(x, nearest, axis=axis)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel at the given distances."""
    d = np.abs(distance)
    square = d**2
    cube = d**3
    near = (a + 2) * cube - (a + 3) * square
    near = near + 1
    far = a * cube - 5 * a * square
    far = far + 8 * a * d
    far = far - 4 * a
    outer = np.where(d < 2, far, 0.0)
    return np.where(d <= 1, near, outer)


@functools.cache
def _upsampling_kernel(scale: int) -> np.ndarray:
    """Weights [phase, tap]; tap k of output scale*i + phase is input i + k - 2."""
    # five taps, because half of the phases look one pixel farther to the left
    taps = np.arange(-2, 3)
    phases = _phases(scale)
    distance = phases[:, None] - taps
    kernel = _cubic(distance, a=-0.75)
    return kernel.astype(np.float32)


@functools.cache
def _linear_kernel(scale: int) -> np.ndarray:
    """Weights [phase, tap]; tap k of output scale*i + phase is input i + k - 1."""
    taps = np.arange(-1, 2)
    phases = _phases(scale)
    distance = phases[:, None] - taps
    nearness = 1 - np.abs(distance)
    hat = np.maximum(0, nearness)
    return hat.astype(np.float32)


def _phases(scale: int) -> np.ndarray:
    """Where the outputs of one input pixel lie, in input pixels from its centre."""
    centres = np.arange(scale) + 0.5
    return centres / scale - 0.5


@functools.cache
def _downsampling_kernel(scale: int) -> np.ndarray:
    """Weights [tap]; tap j of output i is input pixel scale*i + j - 3*scale/2 (rounded
    down).
    """
    # stretched by the scale, which is what antialiases, the kernel reaches two outputs
    # to either side
    taps = np.arange(5 * scale) - 2 * scale
    centre = (scale - 1) / 2
    distance = (taps - centre) / scale
    kernel = _cubic(distance, a=-0.5)
    normalised = kernel / kernel.sum()
    return normalised.astype(np.float32)


def _upsample(x: Array, kernel: np.ndarray) -> Array:
    x = _upsample_axis(x, 1, kernel)
    return _upsample_axis(x, 2, kernel)


def _upsample_axis(x: Array, axis: int, kernel: np.ndarray) -> Array:
    size = x.shape[axis]
    num_phases, num_taps = kernel.shape
    half = num_taps // 2
    padded = repeat_edges(x, axis, before=half, after=half)
    taps = []
    for first in range(num_taps):
        stop = first + size
        tap = jax.lax.slice_in_dim(padded, first, stop, axis=axis)
        taps.append(tap)
    phases = [_weighted_sum(weights, taps) for weights in kernel]
    shape = list(x.shape)
    shape[axis] = size * num_phases
    interleaved = jnp.stack(phases, axis=axis + 1)
    return interleaved.reshape(shape)


def _weighted_sum(weights: np.ndarray, taps: list[Array]) -> Array:
    total: Any = 0
    for weight, tap in zip(weights, taps):
        # taps of weight 0 are left out: they would be read for nothing
        if weight != 0:
            total = total + float(weight) * tap
    return total


def _downsample_axis(x: Array, axis: int, scale: int) -> Array:
    kernel = _downsampling_kernel(scale)
    size = x.shape[axis]
    small = size // scale
    margin = 2 * scale
    padding = [(0, 0)] * x.ndim
    padding[axis] = (margin, margin)
    padded = jnp.pad(x, padding)
    pixels = np.ones(size, np.float32)
    inside = np.pad(pixels, margin)
    total = jnp.zeros((), x.dtype)
    # of the taps inside the image: at the edges the others do not count
    weight = np.zeros(small, np.float32)
    for start in np.flatnonzero(kernel):
        first = int(start)
        last = first + (small - 1) * scale
        stop = last + 1
        share = float(kernel[first])
        tap = jax.lax.slice_in_dim(padded, first, stop, scale, axis)
        total = total + share * tap
        is_pixel = inside[first:stop:scale]
        weight += share * is_pixel
    along_axis = [1] * x.ndim
    along_axis[axis] = small
    weight = weight.reshape(along_axis)
    return total / weight
