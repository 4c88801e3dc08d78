"""Backward warp along optical flow."""

import jax
import jax.numpy as jnp

from sdvsr_jax.types import Array, Bool, Float

Positions = Float[Array, "b *n"]
"""One coordinate of n points of each of b images, in pixels."""


def warp(
    image: Float[Array, "b h w c"],
    flow: Float[Array, "b h w 2"],
    *,
    stretch: bool = False,
) -> Array:
    """Samples `image` (of any range) bilinearly at (x + u, y + v), ``flow`` = (u, v) in
    pixels.

    Outside the image the border pixel counts. With ``stretch`` the published form:
    positions are stretched to x * W/(W-1) - 0.5 and every tap outside the image counts
    as 0, mid grey (docs/parity.md, "warp stretch").
    """
    x, y = _positions(flow)
    _, height, width, _ = image.shape
    if stretch:
        # torch's grid over W - 1 pixels, sampled as one over W: zero flow moves pixels
        x_stretch = width / (width - 1)
        y_stretch = height / (height - 1)
        x = x * x_stretch - 0.5
        y = y * y_stretch - 0.5
    else:
        x = jnp.clip(x, 0, width - 1)
        y = jnp.clip(y, 0, height - 1)
    return sample_bilinear(image, x, y)


def inside(flow: Float[Array, "b h w 2"]) -> Bool[Array, "b h w 1"]:
    """Where the warped position lies within the image (half a pixel of tolerance)."""
    x, y = _positions(flow)
    _, height, width, _ = flow.shape
    # a pixel's area reaches half a pixel beyond its centre
    right = width - 0.5
    bottom = height - 0.5
    in_columns = (x >= -0.5) & (x <= right)
    is_within = in_columns & (y >= -0.5) & (y <= bottom)
    return is_within[..., None]


def sample_bilinear(
    image: Float[Array, "b h w c"], x: Positions, y: Positions
) -> Array:
    """Returns bilinear samples [b, *n, c] at pixel positions; taps outside the image
    count as 0.
    """
    batch, height, width, channels = image.shape
    # far positions would overflow the integer cast; two pixels outside all taps are 0
    # already
    x = x.astype(jnp.float32)
    y = y.astype(jnp.float32)
    x = jnp.clip(x, -2, width + 1)
    y = jnp.clip(y, -2, height + 1)
    left = jnp.floor(x)
    top = jnp.floor(y)
    pixels = image.reshape(batch, height * width, channels)
    total = jnp.zeros((*x.shape, channels), image.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            tap_x = left + dx
            tap_y = top + dy
            row = _clip(tap_y, height)
            column = _clip(tap_x, width)
            index = row * width + column
            taps = _gather(pixels, index)
            in_columns = _is_inside(tap_x, width)
            in_rows = _is_inside(tap_y, height)
            is_within = in_columns & in_rows
            weight = _share(x, tap_x) * _share(y, tap_y)
            weight = jnp.where(is_within, weight, 0.0)
            weight = weight[..., None]
            # weights in float32, and rounded once
            weight = weight.astype(image.dtype)
            total = total + taps * weight
    return total


def _share(position: Array, tap: Array) -> Array:
    """The tap's part of a sample along one axis."""
    distance = jnp.abs(position - tap)
    return 1 - distance


@jax.vmap
def _gather(pixels: Array, index: Array) -> Array:
    return pixels[index]


def _is_inside(position: Array, size: int) -> Array:
    return (position >= 0) & (position < size)


def _clip(position: Array, size: int) -> Array:
    within = jnp.clip(position, 0, size - 1)
    return within.astype(jnp.int32)


def _positions(flow: Float[Array, "b h w 2"]) -> tuple[Array, Array]:
    _, height, width, _ = flow.shape
    columns = jnp.arange(width, dtype=jnp.float32)
    rows = jnp.arange(height, dtype=jnp.float32)
    u = flow[..., 0]
    u = u.astype(jnp.float32)
    v = flow[..., 1]
    v = v.astype(jnp.float32)
    x = u + columns
    y = v + rows[:, None]
    return x, y
