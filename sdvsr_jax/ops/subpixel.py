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
    kernel: Array,
    height: int,
    width: int,
    dimensions: Dimensions = HWIO,
    phases: Array | None = None,
) -> Float[Array, "b h2 w2 d"]:
    """``conv(resize_nearest(x, height, width), kernel)`` with zero padding 1, to float
    rounding; kernel 3x3.

    ``phases``: `phase_kernels` of it, for who has them already.
    """
    conv = functools.partial(plain_conv, dimensions=dimensions)
    if not all(
        old > 1 and new in (2 * old, 2 * old - 1)
        for old, new in zip(x.shape[1:3], (height, width))
    ):
        return conv(resize_nearest(x, height, width), kernel, (1, 1), (1, 1))
    if phases is None:
        phases = phase_kernels(kernel, dimensions).astype(kernel.dtype)
    y = _doubled(x, phases, dimensions)[:, :height, :width]
    # Where the upsampled image loses its last row or column, (1) would still see it:
    # these pixels are done anew.
    rows, columns = (dimensions[1].index(axis) for axis in "HW")
    if height % 2:
        first = jax.lax.slice_in_dim(kernel, 0, 2, axis=rows)
        y = y.at[:, -1:].set(
            conv(resize_nearest(x[:, -2:], 2, width), first, (0, 0), (1, 1))
        )
    if width % 2:
        first = jax.lax.slice_in_dim(kernel, 0, 2, axis=columns)
        y = y.at[:, :, -1:].set(
            conv(resize_nearest(x[:, :, -2:], height, 2), first, (1, 1), (0, 0))
        )
    return y


def phase_kernels(kernel: Array, dimensions: Dimensions = HWIO) -> Array:
    """The four 2x2 kernels of a 3x3 one along its output channels, float32: 16-bit
    weights are rounded once.
    """
    rows, columns, out = (dimensions[1].index(axis) for axis in "HWO")
    tall = _collapse(kernel.astype(jnp.float32), rows)
    return jnp.concatenate(
        [phase for k in tall for phase in _collapse(k, columns)], out
    )


def _doubled(x: Array, phases: Array, dimensions: Dimensions) -> Array:
    b, h, w, _ = x.shape
    y = plain_conv(x, phases, (1, 1), (1, 1), dimensions)
    y = y.reshape(b, h + 1, w + 1, 2, 2, -1)
    # Phase (p, q) of input pixel (i, j) was computed at (i + p, j + q).
    lines = [
        jnp.stack([y[:, p : p + h, q : q + w, p, q] for q in (0, 1)], 3) for p in (0, 1)
    ]
    return jnp.stack(lines, 2).reshape(b, 2 * h, 2 * w, -1)


def _collapse(kernel: Array, axis: int) -> tuple[Array, Array]:
    """Kernels (1) and (2), two taps each along the axis."""
    first, middle, last = jnp.split(kernel, 3, axis)
    return jnp.concatenate([first, middle + last], axis), jnp.concatenate(
        [first + middle, last], axis
    )


def plain_conv(
    x: Array,
    kernel: Array,
    rows: tuple[int, int],
    columns: tuple[int, int],
    dimensions: Dimensions = HWIO,
) -> Array:
    """Convolution of stride 1 with that much zero padding (before, after)."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [rows, columns], dimension_numbers=dimensions
    )
