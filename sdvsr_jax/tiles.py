"""A frame in overlapping tiles, one after the other: less memory at once, the same
stream.

There is one `StreamState`, the whole frame's. Every tile sees a window of it and of the
frame's noise, and the results are blended into the next state, so no tile has a history
of its own that could drift from its neighbours'. A scene cut is decided for the whole
frame, before its first tile.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.stream import StreamState, frame_validity, padded_size, step
from sdvsr_jax.types import Array, Float, HasPrev, Int, Latents, LRFrame, Params, PyTree

Bounds = Float[Array, "2 4"]
"""Per axis the LR positions where a tile's weight starts to rise, is 1, starts to fall,
is 0.
"""


class Grid(NamedTuple):
    """Equal tiles over a padded frame, all numbers in LR pixels."""

    frame: tuple[int, int]
    """Padded height and width."""
    tile: tuple[int, int]
    origins: tuple[tuple[int, int], ...]
    """Top and left of every tile."""
    bounds: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    """`Bounds` of every tile; the weights of all tiles add up to 1 everywhere."""


def alignment(config: ModelConfig) -> int:
    """Tiles start at multiples of this, so that every strided convolution samples where
    it would in the frame.
    """
    unet = config.unet.patch * 2 ** (len(config.unet.block_channels) - 1)
    levels = config.flow.num_levels if isinstance(config.flow, FlowNetConfig) else 4
    return max(unet, 2**levels, config.size_multiple)


def make_grid(
    config: ModelConfig, height: int, width: int, tile: tuple[int, int], overlap: int
) -> Grid:
    """Tiles of at most about ``tile`` = (height, width) for a frame height x width,
    sharing at least ``overlap``.

    The quarter of the overlap nearest to a tile's edge is not used, because it lacks
    context.
    """
    frame = padded_size(height, width, config)
    axes = [
        _axis(size, side, overlap, alignment(config)) for size, side in zip(frame, tile)
    ]
    (tall, tops), (wide, lefts) = axes
    return Grid(
        frame,
        (tall, wide),
        tuple((top, left) for top in tops for left in lefts),
        tuple(
            (y, x)
            for y in _bounds(tops, tall, overlap)
            for x in _bounds(lefts, wide, overlap)
        ),
    )


def _axis(size: int, side: int, overlap: int, step_size: int) -> tuple[int, list[int]]:
    """Side and origins of the tiles along one axis; the last one ends where the frame
    does.
    """
    smallest = 2 * (overlap + step_size)
    side = max(side, smallest) // step_size * step_size + size % step_size
    if side >= size:
        return size, [0]
    count = 1 - (size - side) // -(side - overlap - step_size)
    gap = (size - side) / (count - 1)
    return side, [round(i * gap / step_size) * step_size for i in range(count)]


def _bounds(origins: list[int], side: int, overlap: int) -> list[tuple[float, ...]]:
    """The ramp between two neighbours is half the overlap wide, in the middle of what
    they share.
    """
    half, far = max(overlap / 4, 0.5), 1e6
    middles = [(right + left + side) / 2 for left, right in itertools.pairwise(origins)]
    ramps = [(m - half, m + half) for m in middles]
    return [
        (*up, *down)
        for up, down in zip([(-far, 1 - far), *ramps], [*ramps, (far - 1, far)])
    ]


def empty_state(state: StreamState) -> StreamState:
    """Where the tiles of the next state are added up."""
    images = jax.tree.map(jnp.zeros_like, images_of(state))
    return state._replace(**images)


def images_of(state: StreamState) -> dict[str, PyTree]:
    """What a tile sees a window of, by field."""
    return {
        "prev_lr": state.prev_lr,
        "prev_sr": state.prev_sr,
        "flow_features": state.flow_features,
        "memory": state.memory,
    }


def window(state: StreamState, origin: Int[Array, "2"], grid: Grid) -> StreamState:
    """The state as a tile sees it."""
    images = jax.tree.map(lambda image: _cut(image, origin, grid), images_of(state))
    return state._replace(**images)


def tile_validity(
    params: Params,
    state: StreamState,
    lr: LRFrame,
    origin: Int[Array, "2"],
    bounds: Bounds,
    *,
    grid: Grid,
    config: ModelConfig,
) -> Float[Array, " b"]:
    """A tile's part of the frame's mean validity; the parts of all tiles add up to it."""
    seen = frame_validity(
        params, window(state, origin, grid), _cut(lr, origin, grid), config=config
    )
    weights = _weights(origin, bounds, grid.tile, 1.0)
    return (seen * weights).sum((1, 2, 3)) / (grid.frame[0] * grid.frame[1])


def add_tile(
    params: Params,
    state: StreamState,
    total: StreamState,
    lr: LRFrame,
    noise: Latents,
    cut: HasPrev,
    origin: Int[Array, "2"],
    bounds: Bounds,
    *,
    grid: Grid,
    config: ModelConfig,
) -> StreamState:
    """One tile through `step`, added to ``total``; lr and noise are those of the whole
    padded frame.

    ``total.prev_sr`` is the unclamped SR frame when all tiles are in.
    """
    tile = window(state, origin, grid)
    new, sr = step(
        params,
        tile,
        _cut(lr, origin, grid),
        config=config,
        noise=_cut(noise, origin, grid),
        cut=cut,
    )

    def add(whole: Array, part: Array) -> Array:
        scale = _scale(whole, grid)
        weighted = part * _weights(origin, bounds, part.shape[1:3], scale)
        start = (0, *jnp.round(origin * scale).astype(jnp.int32), 0)
        old = jax.lax.dynamic_slice(whole, start, part.shape)
        return jax.lax.dynamic_update_slice(whole, old + weighted, start)

    # the unclamped frame: it is clamped when its tiles are in
    seen = images_of(new._replace(prev_sr=sr))
    return total._replace(**jax.tree.map(add, images_of(total), seen))


def finish_frame(
    total: StreamState, lr: LRFrame, *, config: ModelConfig
) -> StreamState:
    """The state after a frame whose tiles are all in ``total``."""
    prev_sr = total.prev_sr
    if not config.quirks.unclamped_feedback:
        prev_sr = jnp.clip(prev_sr, -1, 1)
    return total._replace(
        # without a restorer the frame itself, not rounded by a sum of weights
        prev_lr=lr if config.restorer is None else total.prev_lr,
        prev_sr=prev_sr,
        has_prev=jnp.ones_like(total.has_prev),
        frame_index=total.frame_index + 1,
    )


def _scale(image: Array, grid: Grid) -> float:
    """Pixels of ``image`` per LR pixel: a whole number, or one over a power of two
    (features).
    """
    longest = max(0, 1, key=grid.frame.__getitem__)  # where rounding up says least
    ratio = image.shape[1 + longest] / grid.frame[longest]
    return float(round(ratio)) if ratio >= 1 else 0.5 ** round(-math.log2(ratio))


def _cut(image: Array, origin: Int[Array, "2"], grid: Grid) -> Array:
    scale = _scale(image, grid)
    height, width = (
        round(side * scale) if scale >= 1 else -(-side // round(1 / scale))
        for side in grid.tile
    )
    start = (0, *jnp.round(origin * scale).astype(jnp.int32), 0)
    return jax.lax.dynamic_slice(
        image, start, (image.shape[0], height, width, image.shape[3])
    )


def _weights(
    origin: Int[Array, "2"], bounds: Bounds, shape: tuple[int, ...], scale: float
) -> Float[Array, "h w 1"]:
    """The tile's weight at every pixel of an image of it that has ``scale`` pixels per
    LR pixel.
    """

    def along(axis: int) -> Array:
        place = origin[axis] + (jnp.arange(shape[axis]) + 0.5) / scale
        start, full, falls, end = bounds[axis]
        rise = jnp.clip((place - start) / (full - start), 0, 1)
        return rise * jnp.clip((end - place) / (end - falls), 0, 1)

    return along(0)[:, None, None] * along(1)[:, None]
