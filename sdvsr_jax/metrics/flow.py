"""Dense optical flow without weights: Lucas and Kanade, from the coarsest level of a
pyramid to the finest.

For measuring only: found anew in the pictures that are judged, never taken from the
model under test.
"""

import jax
import jax.numpy as jnp

from sdvsr_jax.ops.lucas_kanade import refine_flow
from sdvsr_jax.ops.resize import resize_linear
from sdvsr_jax.types import Array, Float

NAME = "pyramidal Lucas-Kanade"
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
    """Flow (x, y) in pixels, current -> previous: current(p) is near previous(p +
    flow).

    Args:
      current, previous: images in [-1, 1].
      sigma: of the Gaussian window, pixels of each level.
      num_iterations: per level.
      ridge: keeps the step small where the window has no texture (squared units of [-1,
      1]).
    """
    levels = [(current.mean(-1, keepdims=True), previous.mean(-1, keepdims=True))]
    while min(levels[-1][0].shape[1:3]) >= 2 * COARSEST:
        levels.append((_half(levels[-1][0]), _half(levels[-1][1])))
    flow = jnp.zeros((*levels[-1][0].shape[:3], 2))
    for image, other in reversed(levels):
        height, width = image.shape[1:3]
        grow = jnp.asarray([width / flow.shape[2], height / flow.shape[1]])
        flow = resize_linear(flow, height, width) * grow
        # the level above was right to half a pixel of this one, or nothing can be found
        # here
        flow = refine_flow(
            image, other, flow, sigma=sigma, num_iterations=num_iterations, ridge=ridge
        )
    return flow


def _half(image: Float[Array, "b h w 1"]) -> Float[Array, "b h2 w2 1"]:
    b, height, width, _ = image.shape
    return jax.image.resize(
        image, (b, height // 2, width // 2, 1), "linear", antialias=True
    )
