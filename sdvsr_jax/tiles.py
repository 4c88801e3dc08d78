"""A frame in overlapping tiles, one after the other: less memory at once, the same
stream.

There is one `StreamState`, the whole frame's. Every tile sees a window of it and of the
frame's noise, and the results are blended into the next state, so no tile has a history
of its own that could drift from its neighbours'. A scene cut is decided for the whole
frame, before its first tile.
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax.config import ModelConfig
from sdvsr_jax.stream import (
    StreamState,
    feedback,
    frame_validity,
    look,
    padded_size,
    step,
)
from sdvsr_jax.types import (
    Array,
    Float,
    HasPrev,
    Int,
    Latents,
    LRFrame,
    Mask,
    Prepared,
    PyTree,
)

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
    # a tile at another phase would be sampled at other pixels by every stride
    num_halvings = len(config.unet.block_channels) - 1
    unet_stride = config.unet.patch * 2**num_halvings
    return max(unet_stride, config.flow.stride, config.size_multiple)


def make_grid(
    config: ModelConfig, height: int, width: int, tile: tuple[int, int], overlap: int
) -> Grid:
    """Tiles of at most about ``tile`` = (height, width) for a frame height x width,
    sharing at least ``overlap``.

    The quarter of the overlap nearest to a tile's edge is not used, because it lacks
    context.
    """
    frame = padded_size(height, width, config)
    frame_height, frame_width = frame
    tile_height, tile_width = tile
    step_size = alignment(config)
    tall, tops = _axis(frame_height, tile_height, overlap, step_size)
    wide, lefts = _axis(frame_width, tile_width, overlap, step_size)
    rows = _bounds(tops, tall, overlap)
    columns = _bounds(lefts, wide, overlap)
    # row by row, both in the same order
    origins = itertools.product(tops, lefts)
    bounds = itertools.product(rows, columns)
    return Grid(
        frame=frame,
        tile=(tall, wide),
        origins=tuple(origins),
        bounds=tuple(bounds),
    )


def _axis(size: int, side: int, overlap: int, step_size: int) -> tuple[int, list[int]]:
    """Side and origins of the tiles along one axis; the last one ends where the frame
    does.
    """
    # a tile must move by at least a step behind its overlaps
    smallest = 2 * (overlap + step_size)
    steps = max(side, smallest) // step_size
    # the rest too, so that the last tile starts at a multiple and ends with the frame
    rest = size % step_size
    side = steps * step_size + rest
    if side >= size:
        return size, [0]
    # a step less than the overlap allows: rounding may move two tiles so far apart
    advance = side - overlap - step_size
    last = size - side
    # rounded up
    num_gaps = -(last // -advance)
    gap = last / num_gaps
    origins = []
    for number in range(num_gaps + 1):
        position = number * gap
        steps = round(position / step_size)
        origins.append(steps * step_size)
    return side, origins


def _bounds(origins: list[int], side: int, overlap: int) -> list[tuple[float, ...]]:
    """The ramp between two neighbours is half the overlap wide, in the middle of the
    pixels they share.
    """
    # at least half a pixel: a ramp of no width would divide by 0
    half = max(overlap / 4, 0.5)
    # at the frame's edges the ramps are out of sight
    far = 1e6
    first_rise = (-far, 1 - far)
    last_fall = (far - 1, far)
    ramps = []
    for origin, next_origin in itertools.pairwise(origins):
        # the pixels they share begin at the next one and end with this one
        end = origin + side
        middle = (next_origin + end) / 2
        ramp = (middle - half, middle + half)
        ramps.append(ramp)
    # a tile's fall is the next one's rise, so the two weights add up to 1
    rises = [first_rise, *ramps]
    falls = [*ramps, last_fall]
    return [(*rise, *fall) for rise, fall in zip(rises, falls)]


def empty_state(state: StreamState) -> StreamState:
    """Returns the state to which the tiles of the next one are added."""
    images = images_of(state)
    empty = jax.tree.map(jnp.zeros_like, images)
    return state._replace(**empty)


def images_of(state: StreamState) -> dict[str, PyTree]:
    """The fields of which a tile sees a window."""
    return {
        "prev_lr": state.prev_lr,
        "prev_sr": state.prev_sr,
        "flow_features": state.flow_features,
        "memory": state.memory,
    }


def window(state: StreamState, origin: Int[Array, "2"], grid: Grid) -> StreamState:
    """The state as a tile sees it."""
    cut = functools.partial(_cut, origin=origin, grid=grid)
    images = jax.tree.map(cut, images_of(state))
    return state._replace(**images)


def tile_validity(
    prepared: Prepared,
    state: StreamState,
    lr: LRFrame,
    origin: Int[Array, "2"],
    bounds: Bounds,
    *,
    grid: Grid,
    config: ModelConfig,
) -> Float[Array, " b"]:
    """A tile's part of the frame's mean validity, to which all parts add up."""
    tile = window(state, origin, grid)
    tile_lr = _cut(lr, origin, grid)
    validity = frame_validity(prepared, tile, tile_lr, config=config)
    return _share_of_mean(validity, origin, bounds, grid)


def _share_of_mean(
    validity: Mask, origin: Int[Array, "2"], bounds: Bounds, grid: Grid
) -> Float[Array, " b"]:
    """What a tile's validity adds to the mean of the frame's."""
    weights = _weights(origin, bounds, grid.tile, scale=1.0)
    part = validity * weights
    total = part.sum((1, 2, 3))
    height, width = grid.frame
    return total / (height * width)


def add_tile(
    prepared: Prepared,
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
    """One tile through `step`, added to ``total``; lr, in [-1, 1], and noise are those
    of the whole padded frame.

    ``total.prev_sr`` is the unclamped SR frame when all tiles are in.
    """
    tile = window(state, origin, grid)
    tile_lr = _cut(lr, origin, grid)
    tile_noise = _cut(noise, origin, grid)
    new, sr = step(
        prepared,
        tile,
        tile_lr,
        config=config,
        noise=tile_noise,
        cut=cut,
    )

    # the unclamped frame: it is clamped when its tiles are in
    new = new._replace(prev_sr=sr)
    add = functools.partial(_add, origin=origin, bounds=bounds, grid=grid)
    images = jax.tree.map(add, images_of(total), images_of(new))
    return total._replace(**images)


def look_at_tile(
    prepared: Prepared,
    state: StreamState,
    total: StreamState,
    lr: LRFrame,
    origin: Int[Array, "2"],
    bounds: Bounds,
    *,
    grid: Grid,
    config: ModelConfig,
) -> tuple[StreamState, Float[Array, " b"]]:
    """As `stream.look` for one tile: returns ``total`` with the tile's features, and
    its part of the mean validity, as `tile_validity`.
    """
    tile = window(state, origin, grid)
    tile_lr = _cut(lr, origin, grid)
    new, validity = look(prepared, tile, tile_lr, config=config)
    add = functools.partial(_add, origin=origin, bounds=bounds, grid=grid)
    features = jax.tree.map(add, total.flow_features, new.flow_features)
    share = _share_of_mean(validity, origin, bounds, grid)
    return total._replace(flow_features=features), share


def _add(
    image: Array,
    part: Array,
    *,
    origin: Int[Array, "2"],
    bounds: Bounds,
    grid: Grid,
) -> Array:
    """Returns the frame's image with a tile's part of it added."""
    scale = _scale(image, grid)
    size = part.shape[1:3]
    weights = _weights(origin, bounds, size, scale)
    start = _start(origin, scale)
    old = jax.lax.dynamic_slice(image, start, part.shape)
    total = old + part * weights
    return jax.lax.dynamic_update_slice(image, total, start)


def finish_frame(
    total: StreamState, lr: LRFrame, *, config: ModelConfig
) -> StreamState:
    """The state after a frame whose tiles are all in ``total``."""
    return total._replace(
        # without a restorer the frame itself, not rounded by a sum of weights
        prev_lr=lr if config.restorer is None else total.prev_lr,
        prev_sr=feedback(total.prev_sr, config),
        has_prev=jnp.ones_like(total.has_prev),
        frame_index=total.frame_index + 1,
    )


def _scale(image: Array, grid: Grid) -> float:
    """Pixels of ``image`` per LR pixel: a whole number, or one over a power of two
    (features).
    """
    height, width = grid.frame
    _, image_height, image_width, _ = image.shape
    # along the longer side, where the rounding up of sizes says least
    is_tall = height >= width
    ratio = image_height / height if is_tall else image_width / width
    if ratio >= 1:
        return float(round(ratio))
    halvings = round(-math.log2(ratio))
    return 0.5**halvings


def _start(origin: Int[Array, "2"], scale: float) -> tuple:
    """The origin in an image [b, h, w, c] that has ``scale`` pixels per LR pixel."""
    position = jnp.round(origin * scale)
    row, column = position.astype(jnp.int32)
    return (0, row, column, 0)


def _cut(image: Array, origin: Int[Array, "2"], grid: Grid) -> Array:
    batch, _, _, channels = image.shape
    scale = _scale(image, grid)
    tile_height, tile_width = grid.tile
    height = _side(tile_height, scale)
    width = _side(tile_width, scale)
    size = (batch, height, width, channels)
    start = _start(origin, scale)
    return jax.lax.dynamic_slice(image, start, size)


def _side(side: int, scale: float) -> int:
    if scale >= 1:
        return round(side * scale)
    stride = round(1 / scale)
    # strided convolutions round up
    return -(-side // stride)


def _weights(
    origin: Int[Array, "2"], bounds: Bounds, shape: tuple[int, ...], scale: float
) -> Float[Array, "h w 1"]:
    """The tile's weight at every pixel of an image of it that has ``scale`` pixels per
    LR pixel.
    """

    def along(axis: int) -> Array:
        pixels = jnp.arange(shape[axis])
        centres = (pixels + 0.5) / scale
        place = origin[axis] + centres
        start, full, falls, end = bounds[axis]
        rise = (place - start) / (full - start)
        fall = (end - place) / (end - falls)
        rise = jnp.clip(rise, 0, 1)
        fall = jnp.clip(fall, 0, 1)
        return rise * fall

    rows = along(0)
    columns = along(1)
    rows = rows[:, None, None]
    columns = columns[:, None]
    return rows * columns
