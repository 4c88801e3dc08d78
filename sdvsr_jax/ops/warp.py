"""Backward warp along optical flow."""

import jax
import jax.numpy as jnp

from sdvsr_jax.types import Array, Bool, Float


def warp(
    image: Float[Array, "b h w c"],
    flow: Float[Array, "b h w 2"],
    *,
    stretch: bool = False,
) -> Array:
    """Sample `image` bilinearly at (x + u, y + v).

    Outside the image the border pixel counts. With ``stretch`` the published form:
    positions are stretched to x * W/(W-1) - 0.5 and every tap outside the image counts
    as 0, mid grey (docs/parity.md, "warp stretch").
    """
    x, y = _positions(flow)
    height, width = image.shape[1:3]
    if stretch:
        x = x * (width / (width - 1)) - 0.5
        y = y * (height / (height - 1)) - 0.5
    else:
        x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    return sample_bilinear(image, x, y)


def inside(flow: Float[Array, "b h w 2"]) -> Bool[Array, "b h w 1"]:
    """Where the warped position lies within the image (half a pixel of tolerance)."""
    x, y = _positions(flow)
    height, width = flow.shape[1:3]
    within = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return within[..., None]


def sample_bilinear(
    image: Float[Array, "b h w c"], x: Float[Array, "b *n"], y: Float[Array, "b *n"]
) -> Array:
    """Bilinear samples [b, *n, c] at pixel positions; taps outside the image count as
    0.
    """
    height, width = image.shape[1:3]
    # Far positions would overflow the integer cast; two pixels outside all taps are 0
    # already.
    x = jnp.clip(x.astype(jnp.float32), -2, width + 1)
    y = jnp.clip(y.astype(jnp.float32), -2, height + 1)
    left, top = jnp.floor(x), jnp.floor(y)
    rows = image.reshape(image.shape[0], height * width, -1)
    total = jnp.zeros((*x.shape, rows.shape[-1]), image.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            tap_x, tap_y = left + dx, top + dy
            weight = (1 - jnp.abs(x - tap_x)) * (1 - jnp.abs(y - tap_y))
            within = (tap_x >= 0) & (tap_x < width) & (tap_y >= 0) & (tap_y < height)
            column, row = (
                jnp.clip(t, 0, n - 1).astype(jnp.int32)
                for t, n in ((tap_x, width), (tap_y, height))
            )
            taps = jax.vmap(lambda pixels, i: pixels[i])(rows, row * width + column)
            total = total + taps * jnp.where(within, weight, 0)[..., None].astype(
                image.dtype
            )
    return total


def _positions(flow: Float[Array, "b h w 2"]) -> tuple[Array, Array]:
    height, width = flow.shape[1:3]
    x = flow[..., 0].astype(jnp.float32) + jnp.arange(width, dtype=jnp.float32)
    y = (
        flow[..., 1].astype(jnp.float32)
        + jnp.arange(height, dtype=jnp.float32)[:, None]
    )
    return x, y
