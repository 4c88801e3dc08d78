"""Optical flow by least squares in a Gaussian window (Lucas and Kanade 1981): no
weights, only a start to improve.

At every pixel the step that best explains the intensity difference within the window is

    (S + ridge I) d = -r
    S = G * [Ix Ix, Ix Iy; Ix Iy, Iy Iy]
    r = G * [Ix It, Iy It]

repeated on the warped image.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax.ops.warp import warp
from sdvsr_jax.types import Array, Float, Flow

# Pixels. A gradient finds nothing that is farther away.
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
    """Returns a better flow (x, y) in pixels: image(p) is near other(p + flow).

    Moves by at most `MAX_CORRECTION`, then smooths.

    ``ridge`` (squared units of the image per pixel) keeps the step small where the
    window has no texture.
    """
    dy, dx = jnp.gradient(image, axis=(1, 2))
    products = [dx * dx, dx * dy, dy * dy]
    xx, xy, yy = _windowed(products, sigma)
    xx = xx + ridge
    yy = yy + ridge
    determinant = xx * yy - xy * xy

    def iterate(correction: Array, _: None) -> tuple[Array, None]:
        warped = warp(other, flow + correction)
        difference = warped - image
        # read twice, and without a barrier warped twice on a CPU
        dt = jax.lax.optimization_barrier(difference)
        xt, yt = _windowed([dx * dt, dy * dt], sigma)
        step_x = xy * yt - yy * xt
        step_y = xy * xt - xx * yt
        step = jnp.concatenate([step_x, step_y], -1)
        step = step / determinant
        # an error of the start is within reach of a gradient, or nothing can be found
        # here
        sum_of_steps = correction + jnp.clip(step, -1, 1)
        bounded = jnp.clip(sum_of_steps, -MAX_CORRECTION, MAX_CORRECTION)
        return bounded, None

    start = jnp.zeros_like(flow)
    # exporters take a scan whose body reads arrays from around it, not a fori_loop
    correction, _ = jax.lax.scan(iterate, start, length=num_iterations)
    # steps of neighbouring windows differ by noise: a pixel of blur takes it out
    better = flow + correction
    return gaussian_blur(better, sigma=1.0)


def _windowed(products: list[Array], sigma: float) -> list[Array]:
    """Weighted means of every product over the window, blurred as one image."""
    together = jnp.concatenate(products, -1)
    blurred = gaussian_blur(together, sigma)
    return jnp.split(blurred, len(products), axis=-1)


def gaussian_taps(sigma: float) -> np.ndarray:
    """Returns a Gaussian within 2.5 sigma; its peak is 1."""
    radius = int(2.5 * sigma)
    positions = np.arange(-radius, radius + 1)
    distance = positions / sigma
    return np.exp(-0.5 * distance**2)


def gaussian_blur(x: Float[Array, "b h w c"], sigma: float) -> Float[Array, "b h w c"]:
    """Weighted mean with `gaussian_taps` over rows, then columns; at the edges over the
    pixels that exist.
    """
    # shifted sums join into one loop: on a CPU a tenth of the time of a convolution
    # with so few channels
    taps = gaussian_taps(sigma)
    for axis in (1, 2):
        x = _blur_axis(x, axis, taps)
    return x


def _blur_axis(x: Array, axis: int, taps: np.ndarray) -> Array:
    size = x.shape[axis]
    radius = len(taps) // 2
    padding = [(0, 0)] * x.ndim
    padding[axis] = (radius, radius)
    padded = jnp.pad(x, padding)
    total = jnp.zeros_like(x)
    for first, tap in enumerate(taps):
        stop = first + size
        shifted = jax.lax.slice_in_dim(padded, first, stop, axis=axis)
        total += float(tap) * shifted
    # the sum of the taps that fell on pixels, at every position
    pixels = np.ones(size)
    weights = np.convolve(pixels, taps)
    end = radius + size
    inner = weights[radius:end].astype(np.float32)
    along_axis = [1] * x.ndim
    along_axis[axis] = size
    inner = inner.reshape(along_axis)
    return total / inner
