"""The functions that an engine traces, apart from it: a start that finds them compiled
imports no networks.
"""

import jax

from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.pixels import from_pixels, to_pixels
from sdvsr_jax.state import StreamState
from sdvsr_jax.stream import look, step
from sdvsr_jax.types import Array, Prepared


def upscale_pixels(
    prepared: Prepared,
    state: StreamState,
    pixels: Array,
    *,
    config: ModelConfig,
    size: tuple[int, int],
) -> tuple[StreamState, Array]:
    """Returns the next state and the frame [H, W, 3], ``size`` = (W, H).

    pixels: uint8 or uint16 [h, w, 3]. Sizes other than scale x the input are made by an
    antialiased Lanczos filter on the unclamped float frame, so that there is one
    rounding only and only the pixels of the output leave the device.
    """
    lr = from_pixels(pixels[None])
    state, sr = step(prepared, state, lr, config=config)
    frame = of_size(sr[0], size)
    return state, to_pixels(frame, pixels.dtype)


def look_at_pixels(
    prepared: Prepared, state: StreamState, pixels: Array, *, config: ModelConfig
) -> tuple[StreamState, Array]:
    """Returns the state for the next look, and the mean validity, [1]."""
    lr = from_pixels(pixels[None])
    state, validity = look(prepared, state, lr, config=config)
    return state, validity.mean((1, 2, 3))


def of_size(sr: Array, size: tuple[int, int]) -> Array:
    """Returns the float frame [h, w, 3] at ``size`` = (W, H)."""
    width, height = size
    shape = (height, width, 3)
    if sr.shape == shape:
        return sr
    return jax.image.resize(sr, shape, "lanczos3", antialias=True)
