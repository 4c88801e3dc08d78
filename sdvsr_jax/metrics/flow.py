"""Dense optical flow without weights: Lucas and Kanade on a pyramid of levels.

For measuring only: it is estimated anew in the pictures that are judged, never taken
from the model under test.
"""

import jax
import jax.numpy as jnp

from sdvsr_jax.ops.lucas_kanade import refine_flow
from sdvsr_jax.ops.resize import resize_linear
from sdvsr_jax.types import Array, Float, Flow

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
) -> Flow:
    """Returns the flow (x, y) in pixels, current -> previous, [b, H, W, 2].

    current(p) is near previous(p + flow).

    Args:
      current, previous: images in [-1, 1].
      sigma: of the Gaussian window, pixels of each level.
      num_iterations: per level.
      ridge: keeps the step small where the window has no texture (squared units of [-1,
      1]).
    """
    image = current.mean(-1, keepdims=True)
    other = previous.mean(-1, keepdims=True)
    levels = [(image, other)]
    # smaller ones would be all edge to the window
    while min(image.shape[1:3]) >= 2 * COARSEST:
        image = _half(image)
        other = _half(other)
        levels.append((image, other))

    batch, height, width, _ = image.shape
    flow = jnp.zeros((batch, height, width, 2))
    for image, other in reversed(levels):
        _, height, width, _ = image.shape
        flow = _enlarge_flow(flow, height, width)
        # the level above was right to half a pixel of this one, or nothing can be found
        # here
        flow = refine_flow(
            image,
            other,
            flow,
            sigma=sigma,
            num_iterations=num_iterations,
            ridge=ridge,
        )
    return flow


def _enlarge_flow(flow: Flow, height: int, width: int) -> Flow:
    _, old_height, old_width, _ = flow.shape
    factors = jnp.asarray([width / old_width, height / old_height])
    enlarged = resize_linear(flow, height, width)
    return enlarged * factors


def _half(image: Float[Array, "b h w 1"]) -> Float[Array, "b h2 w2 1"]:
    b, height, width, _ = image.shape
    size = (b, height // 2, width // 2, 1)
    return jax.image.resize(image, size, "linear", antialias=True)
