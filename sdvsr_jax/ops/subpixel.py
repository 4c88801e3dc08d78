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

NONE = (0, 0)
ONE = (1, 1)
"""Zero padding before and after an axis."""


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
    is_doubled = _is_doubled(old_height, height) and _is_doubled(old_width, width)
    if not is_doubled:
        upsampled = resize_nearest(x, height, width)
        return conv(upsampled, kernel, rows=ONE, columns=ONE)
    if phases is None:
        phases = phase_kernels(kernel, dimensions)
        phases = phases.astype(kernel.dtype)
    y = _doubled(x, phases, dimensions)
    y = y[:, :height, :width]
    # where the upsampled image loses its last row or column, (1) would still see it:
    # these pixels are done anew, by the two rows or columns of the kernel inside
    row_axis, column_axis, _ = _axes(dimensions)
    if height % 2:
        last = resize_nearest(x[:, -2:], 2, width)
        north = jax.lax.slice_in_dim(kernel, 0, 2, axis=row_axis)
        last_row = conv(last, north, rows=NONE, columns=ONE)
        y = y.at[:, -1:].set(last_row)
    if width % 2:
        last = resize_nearest(x[:, :, -2:], height, 2)
        west = jax.lax.slice_in_dim(kernel, 0, 2, axis=column_axis)
        last_column = conv(last, west, rows=ONE, columns=NONE)
        y = y.at[:, :, -1:].set(last_column)
    return y


def _is_doubled(old: int, new: int) -> bool:
    # more than one: a last row or column is done anew from two of the input
    doubled = 2 * old
    return old > 1 and new in (doubled, doubled - 1)


def _axes(dimensions: Dimensions) -> tuple[int, int, int]:
    """Where rows, columns and output channels of a kernel are."""
    _, kernel, _ = dimensions
    rows = kernel.index("H")
    columns = kernel.index("W")
    out = kernel.index("O")
    return rows, columns, out


def phase_kernels(
    kernel: Float[Array, "_ _ _ _"], dimensions: Dimensions = HWIO
) -> Float[Array, "_ _ _ _"]:
    """Returns the four 2x2 kernels of a 3x3 one along its output channels.

    In float32, so that 16-bit weights are rounded once.
    """
    rows, columns, out = _axes(dimensions)
    exact = kernel.astype(jnp.float32)
    phases = []
    for tall in _collapse(exact, rows):
        phases += _collapse(tall, columns)
    return jnp.concatenate(phases, out)


def _doubled(x: Array, phases: Array, dimensions: Dimensions) -> Array:
    b, h, w, _ = x.shape
    y = plain_conv(x, phases, ONE, ONE, dimensions)
    y = y.reshape(b, h + 1, w + 1, 2, 2, -1)
    # phase (p, q) of input pixel (i, j) was computed at (i + p, j + q)
    lines = []
    for p in (0, 1):
        rows = slice(p, p + h)
        pixels = []
        for q in (0, 1):
            columns = slice(q, q + w)
            pixels.append(y[:, rows, columns, p, q])
        line = jnp.stack(pixels, 3)
        lines.append(line)
    image = jnp.stack(lines, 2)
    return image.reshape(b, 2 * h, 2 * w, -1)


def _collapse(kernel: Array, axis: int) -> tuple[Array, Array]:
    """Kernels (1) and (2), two taps each along the axis."""
    first, middle, last = jnp.split(kernel, 3, axis)
    near_end = middle + last
    even = jnp.concatenate([first, near_end], axis)
    near_start = first + middle
    odd = jnp.concatenate([near_start, last], axis)
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
        x,
        kernel,
        window_strides=(1, 1),
        padding=[rows, columns],
        dimension_numbers=dimensions,
    )
