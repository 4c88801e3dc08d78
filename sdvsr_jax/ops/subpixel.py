"""A 3x3 convolution behind a nearest upsampling to twice the size, without the
upsampled image.

Every output pixel sees only 2x2 different input pixels, so its nine weights collapse to
four; which sums depends on the pixel's phase (row and column, even or odd). With rows
k0, k1, k2 of the kernel:

    out[2i]     = k0 x[i-1] + (k1 + k2) x[i]           (1)
    out[2i + 1] = (k0 + k1) x[i] + k2 x[i+1]           (2)

and the same for columns: four 2x2 convolutions, 4/9 of the arithmetic. They are
computed as one convolution with four times the channels.
"""

import functools

import jax
import jax.numpy as jnp

from sdvsr_jax.ops.resize import resize_nearest
from sdvsr_jax.types import Array, Float

Dimensions = tuple[str, str, str]
"""Axes of input, kernel and output, as `jax.lax.conv_general_dilated` takes them."""
HWIO: Dimensions = ("NHWC", "HWIO", "NHWC")
OHWI: Dimensions = ("NHWC", "OHWI", "NHWC")


def upsampled_conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "_ _ _ _"],
    height: int,
    width: int,
    dimensions: Dimensions = HWIO,
    phases: Float[Array, "_ _ _ _"] | None = None,
) -> Float[Array, "b h2 w2 d"]:
    """``conv(resize_nearest(x, height, width), kernel)`` with zero padding 1, to float
    rounding; kernel 3x3.

    ``phases``: `phase_kernels` of it, where they are computed already.
    """
    conv = functools.partial(plain_conv, dimensions=dimensions)
    _, old_height, old_width, _ = x.shape
    if not (_is_doubled(old_height, height) and _is_doubled(old_width, width)):
        return conv(resize_nearest(x, height, width), kernel, (1, 1), (1, 1))
    if phases is None:
        phases = phase_kernels(kernel, dimensions).astype(kernel.dtype)
    y = _doubled(x, phases, dimensions)[:, :height, :width]
    # where the upsampled image loses its last row or column, (1) would still see it:
    # these pixels are done anew
    rows, columns, _ = _axes(dimensions)
    if height % 2:
        last = resize_nearest(x[:, -2:], 2, width)
        north = jax.lax.slice_in_dim(kernel, 0, 2, axis=rows)
        y = y.at[:, -1:].set(conv(last, north, (0, 0), (1, 1)))
    if width % 2:
        last = resize_nearest(x[:, :, -2:], height, 2)
        west = jax.lax.slice_in_dim(kernel, 0, 2, axis=columns)
        y = y.at[:, :, -1:].set(conv(last, west, (1, 1), (0, 0)))
    return y


def _is_doubled(old: int, new: int) -> bool:
    return old > 1 and new in (2 * old, 2 * old - 1)


def _axes(dimensions: Dimensions) -> tuple[int, int, int]:
    """Where rows, columns and output channels of a kernel are."""
    _, kernel, _ = dimensions
    return kernel.index("H"), kernel.index("W"), kernel.index("O")


def phase_kernels(
    kernel: Float[Array, "_ _ _ _"], dimensions: Dimensions = HWIO
) -> Float[Array, "_ _ _ _"]:
    """Returns the four 2x2 kernels of a 3x3 one along its output channels.

    In float32, so that 16-bit weights are rounded once.
    """
    rows, columns, out = _axes(dimensions)
    phases = []
    for tall in _collapse(kernel.astype(jnp.float32), rows):
        phases += _collapse(tall, columns)
    return jnp.concatenate(phases, out)


def _doubled(x: Array, phases: Array, dimensions: Dimensions) -> Array:
    b, h, w, _ = x.shape
    y = plain_conv(x, phases, (1, 1), (1, 1), dimensions)
    y = y.reshape(b, h + 1, w + 1, 2, 2, -1)
    # phase (p, q) of input pixel (i, j) was computed at (i + p, j + q)
    lines = []
    for p in (0, 1):
        pixels = [y[:, p : p + h, q : q + w, p, q] for q in (0, 1)]
        lines.append(jnp.stack(pixels, 3))
    return jnp.stack(lines, 2).reshape(b, 2 * h, 2 * w, -1)


def _collapse(kernel: Array, axis: int) -> tuple[Array, Array]:
    """Kernels (1) and (2), two taps each along the axis."""
    first, middle, last = jnp.split(kernel, 3, axis)
    even = jnp.concatenate([first, middle + last], axis)
    odd = jnp.concatenate([first + middle, last], axis)
    return even, odd


def plain_conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "_ _ _ _"],
    rows: tuple[int, int],
    columns: tuple[int, int],
    dimensions: Dimensions = HWIO,
) -> Float[Array, "b h2 w2 d"]:
    """Convolution of stride 1 with that much zero padding (before, after)."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [rows, columns], dimension_numbers=dimensions
    )
