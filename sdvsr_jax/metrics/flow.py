"""Dense optical flow without weights: Lucas and Kanade, coarse to fine, for measuring only.

It shares nothing with the model under test, whose own flow network would judge itself. At every pixel the step that
best explains the intensity difference within a Gaussian window is

    (S + ridge I) d = -r        S = G * [Ix Ix, Ix Iy; Ix Iy, Iy Iy]     r = G * [Ix It, Iy It]

repeated on the warped image, from the coarsest level of a pyramid to the finest.
"""

import jax
import jax.numpy as jnp

from sdvsr_jax.resize import resize_linear
from sdvsr_jax.types import Array, Float
from sdvsr_jax.warp import warp

NAME = "pyramidal Lucas-Kanade"
MAX_CORRECTION = 2.0
COARSEST = 12
"""Smallest side of the coarsest level."""


def lucas_kanade(
    current: Float[Array, "b H W 3"],
    previous: Float[Array, "b H W 3"],
    *,
    sigma: float = 4.0,
    num_iterations: int = 4,
    ridge: float = 3e-4,
) -> Float[Array, "b H W 2"]:
    """Flow (x, y) in pixels, current -> previous: current(p) is near previous(p + flow).

    Args:
      current, previous: images in [-1, 1].
      sigma: of the Gaussian window, pixels of each level.
      num_iterations: per level.
      ridge: keeps the step small where the window has no texture (squared units of [-1, 1]).
    """
    levels = [(current.mean(-1, keepdims=True), previous.mean(-1, keepdims=True))]
    while min(levels[-1][0].shape[1:3]) >= 2 * COARSEST:
        levels.append((_half(levels[-1][0]), _half(levels[-1][1])))
    flow = jnp.zeros((*levels[-1][0].shape[:3], 2))
    for image, other in reversed(levels):
        height, width = image.shape[1:3]
        grow = jnp.asarray([width / flow.shape[2], height / flow.shape[1]])
        flow = resize_linear(flow, height, width) * grow
        flow = _refine(image, other, flow, sigma, num_iterations, ridge)
    return flow


def _refine(image: Array, other: Array, flow: Array, sigma: float, num_iterations: int, ridge: float) -> Array:
    dx, dy = _gradient(image)
    xx, xy, yy = jnp.split(_gaussian(jnp.concatenate([dx * dx, dx * dy, dy * dy], -1), sigma), 3, axis=-1)
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy * xy

    def iterate(_, correction: Array) -> Array:
        dt = warp(other, flow + correction) - image
        xt, yt = jnp.split(_gaussian(jnp.concatenate([dx * dt, dy * dt], -1), sigma), 2, axis=-1)
        step = jnp.concatenate([xy * yt - yy * xt, xy * xt - xx * yt], -1) / determinant
        # the level above was right to half a pixel of this one, or nothing can be found here
        return jnp.clip(correction + jnp.clip(step, -1, 1), -MAX_CORRECTION, MAX_CORRECTION)

    return _gaussian(flow + jax.lax.fori_loop(0, num_iterations, iterate, jnp.zeros_like(flow)), 1.0)


def _gradient(image: Float[Array, "b h w 1"]) -> tuple[Array, Array]:
    dy, dx = jnp.gradient(image, axis=(1, 2))
    return dx, dy


def _gaussian(x: Float[Array, "b h w c"], sigma: float) -> Float[Array, "b h w c"]:
    # two products with banded matrices: quick to compile, and as fast as a convolution with 21 taps
    rows, columns = (_band(size, sigma) for size in x.shape[1:3])
    x = jnp.einsum("ij,bjwc->biwc", rows, x, precision="highest")
    return jnp.einsum("ij,bhjc->bhic", columns, x, precision="highest")


def _band(size: int, sigma: float) -> Float[Array, "n n"]:
    """Gaussian weights within 2.5 sigma, renormalised at the edges."""
    distance = jnp.abs(jnp.arange(size)[:, None] - jnp.arange(size))
    weights = jnp.where(distance <= 2.5 * sigma, jnp.exp(-0.5 * (distance / sigma) ** 2), 0)
    return weights / weights.sum(1, keepdims=True)


def _half(image: Float[Array, "b h w 1"]) -> Float[Array, "b h2 w2 1"]:
    b, height, width, _ = image.shape
    return jax.image.resize(image, (b, height // 2, width // 2, 1), "linear", antialias=True)
