"""Optical flow by least squares in a Gaussian window (Lucas and Kanade 1981): no
weights, only a start to improve.

At every pixel the step that best explains the intensity difference within the window is

    (S + ridge I) d = -r        S = G * [Ix Ix, Ix Iy; Ix Iy, Iy Iy]     r = G * [Ix It,
    Iy It]

repeated on the warped image.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax.ops.warp import warp
from sdvsr_jax.types import Array, Float, Flow

MAX_CORRECTION = 2.0


def refine_flow(
    image: Float[Array, "b h w 1"],
    other: Float[Array, "b h w 1"],
    flow: Flow,
    *,
    sigma: float,
    num_iterations: int,
    ridge: float = 3e-4,
) -> Flow:
    """A better flow (x, y) in pixels: image(p) is near other(p + flow). Moves by at
    most two pixels, then smooths.

    ``ridge`` (squared units of the image per pixel) keeps the step small where the
    window has no texture.
    """
    dy, dx = jnp.gradient(image, axis=(1, 2))
    xx, xy, yy = jnp.split(
        gaussian_blur(jnp.concatenate([dx * dx, dx * dy, dy * dy], -1), sigma),
        3,
        axis=-1,
    )
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy * xy

    def iterate(_, correction: Array) -> Array:
        # read twice, and without a barrier warped twice on a CPU
        dt = jax.lax.optimization_barrier(warp(other, flow + correction) - image)
        xt, yt = jnp.split(
            gaussian_blur(jnp.concatenate([dx * dt, dy * dt], -1), sigma), 2, axis=-1
        )
        step = jnp.concatenate([xy * yt - yy * xt, xy * xt - xx * yt], -1) / determinant
        # what the start was wrong by is within reach of a gradient, or nothing can be
        # found here
        return jnp.clip(
            correction + jnp.clip(step, -1, 1), -MAX_CORRECTION, MAX_CORRECTION
        )

    return gaussian_blur(
        flow + jax.lax.fori_loop(0, num_iterations, iterate, jnp.zeros_like(flow)), 1.0
    )


def gaussian_taps(sigma: float) -> np.ndarray:
    """Gaussian within 2.5 sigma; its peak is 1."""
    radius = int(2.5 * sigma)
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)


def gaussian_blur(x: Float[Array, "b h w c"], sigma: float) -> Float[Array, "b h w c"]:
    """Weighted mean with `gaussian_taps` over rows, then columns; at the edges over
    what is there.
    """
    taps = gaussian_taps(sigma)
    radius = len(taps) // 2
    # shifted sums join into one loop: on a CPU a tenth of the time of a convolution
    # with so few channels
    for axis in (1, 2):
        size = x.shape[axis]
        padded = jnp.pad(
            x, [(radius, radius) if a == axis else (0, 0) for a in range(4)]
        )
        total = jnp.zeros_like(x)
        for i, tap in enumerate(taps):
            total += float(tap) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
        within = np.convolve(np.ones(size), taps)[radius : radius + size].astype(
            np.float32
        )
        x = total / within.reshape([size if a == axis else 1 for a in range(4)])
    return x
