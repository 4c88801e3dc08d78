"""The engine for frames that are too big for the memory: tile by tile, one stream."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

from infer.model.engine import Engine, Model, Shape
from infer.model.layout import OVERLAP, Tiles
from infer.model.memory import size_of, temporaries
from infer.model.networks import of_size
from sdvsr_jax import tiles
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.pixels import from_pixels, to_pixels
from sdvsr_jax.ops.resize import pad_edges
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.state import StreamState
from sdvsr_jax.stream import frame_noise
from sdvsr_jax.types import Array, Prepared


class TiledEngine(Engine):
    """One program begins a frame, two take a tile each, one ends the frame.

    State and results are as in `Engine`.
    """

    def __init__(
        self, model: Model, shape: Shape, tile: Tiles, overlap: int = OVERLAP
    ) -> None:
        sides = (tile.height, tile.width)
        self.grid = tiles.make_grid(
            model.config, shape.height, shape.width, sides, overlap
        )
        places = zip(self.grid.origins, self.grid.bounds, strict=True)
        self._tiles: list[tuple[np.ndarray, np.ndarray]] = []
        for corner, edges in places:
            origin = np.array(corner, np.int32)
            bounds = np.array(edges, np.float32)
            self._tiles.append((origin, bounds))
        # Last, because it compiles, and needs the tiles for that.
        super().__init__(model, shape)

    def _compile(self) -> None:
        config = self.model.config
        grid = self.grid
        params = self.model.params
        state = self.state_shape
        origin, bounds = self._tiles[0]
        tile = (
            jax.ShapeDtypeStruct(origin.shape, origin.dtype),
            jax.ShapeDtypeStruct(bounds.shape, bounds.dtype),
        )
        scalar = jax.ShapeDtypeStruct((1,), "float32")
        options = compiler_options()

        begin = functools.partial(_begin, frame=grid.frame, config=config)
        begin = jax.jit(begin)
        see = functools.partial(_see, grid=grid, config=config)
        see = jax.jit(see, compiler_options=options)
        add = functools.partial(tiles.add_tile, grid=grid, config=config)
        add = jax.jit(add, donate_argnums=2, compiler_options=options)
        height = config.scale * self._height
        width = config.scale * self._width
        end = functools.partial(
            _end,
            shape=(height, width),
            size=self.size,
            dtype=self._pixels.dtype,
            config=config,
        )
        end = jax.jit(end, donate_argnums=0)

        lr, noise, total, cut = jax.eval_shape(begin, state, self._pixels)
        self._begin = begin.lower(state, self._pixels).compile()
        self._see: Compiled | None = None
        if config.history.cut_validity:
            see = see.lower(params, state, lr, scalar, *tile)
            self._see = see.compile()
        add = add.lower(params, state, total, lr, noise, cut, *tile)
        self._add = add.compile()
        self._end = end.lower(total, lr).compile()
        self._frame_bytes = size_of((lr, noise, total))

    @property
    def layout(self) -> Tiles:
        height, width = self.grid.tile
        return Tiles(width, height)

    @property
    def num_tiles(self) -> int:
        """Tiles of every frame."""
        return len(self._tiles)

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Returns the next state and the upscaled frame; ``state`` is used up."""
        params = self.model.params
        frame = self._put(pixels)
        lr, noise, total, cut = self._begin(state, frame)
        if self._see is not None:
            # Goes where the program is, as the tiles do.
            validity: Any = np.zeros(1, np.float32)
            for tile in self._tiles:
                validity = self._see(params, state, lr, validity, *tile)
            cut = validity < self.model.config.history.cut_validity
        for tile in self._tiles:
            total = self._add(params, state, total, lr, noise, cut, *tile)
        state, out = self._end(total, lr)
        out.copy_to_host_async()
        return state, out

    def look(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """As `Engine.look`, by the same tiles as `step`."""
        params = self.model.params
        frame = self._put(pixels)
        lr, _, total, _ = self._begin(state, frame)
        validity: Any = np.zeros(1, np.float32)
        for tile in self._tiles:
            total, validity = self._glance(params, state, total, lr, validity, *tile)
        state = tiles.finish_frame(total, lr, config=self.model.config)
        return state, validity

    @functools.cached_property
    def _glance(self) -> Any:
        config = self.model.config
        glance = functools.partial(_glance, grid=self.grid, config=config)
        return jax.jit(glance, compiler_options=compiler_options())

    def _computing(self) -> int:
        """Bytes of weights, old state, the frame, and the hungriest program's rest."""
        programs = [self._begin, self._add, self._end]
        if self._see is not None:
            programs.append(self._see)
        platform = self.model.device.platform
        demands = []
        for program in programs:
            analysis: Any = program.memory_analysis()
            demands.append(temporaries(analysis.temp_size_in_bytes, platform))
        most = max(demands)
        width, height = self.size
        pixels = 3 * width * height * self._pixels.dtype.itemsize
        lasting = size_of((self.model.params, self.state_shape))
        return lasting + self._frame_bytes + most + pixels


def _begin(
    state: StreamState, pixels: Array, *, frame: tuple[int, int], config: ModelConfig
) -> tuple[Array, Array, StreamState, Array]:
    """Returns the padded frame, its noise, an empty next state, and no cut."""
    lr = pad_edges(from_pixels(pixels[None]), *frame)
    noise = frame_noise(state, frame, config)
    total = tiles.empty_state(state)
    no_cut = jnp.zeros(1, bool)
    return lr, noise, total, no_cut


def _see(
    params: Prepared,
    state: StreamState,
    lr: Array,
    validity: Array,
    origin: Array,
    bounds: Array,
    *,
    grid: tiles.Grid,
    config: ModelConfig,
) -> Array:
    """Returns ``validity`` plus this tile's share of the mean validity.

    The sum keeps tiles from running at the same time, each with temporary arrays of its
    own.
    """
    share = tiles.tile_validity(
        params, state, lr, origin, bounds, grid=grid, config=config
    )
    return validity + share


def _glance(
    params: Prepared,
    state: StreamState,
    total: StreamState,
    lr: Array,
    validity: Array,
    origin: Array,
    bounds: Array,
    *,
    grid: tiles.Grid,
    config: ModelConfig,
) -> tuple[StreamState, Array]:
    """As `_see`, and adds the tile's features to the next state."""
    total, share = tiles.look_at_tile(
        params, state, total, lr, origin, bounds, grid=grid, config=config
    )
    return total, validity + share


def _end(
    total: StreamState,
    lr: Array,
    *,
    shape: tuple[int, int],
    size: tuple[int, int],
    dtype: Any,
    config: ModelConfig,
) -> tuple[StreamState, Array]:
    """Returns the next state and the frame's pixels."""
    height, width = shape
    sr = total.prev_sr[0, :height, :width]
    pixels = to_pixels(of_size(sr, size), dtype)
    state = tiles.finish_frame(total, lr, config=config)
    return state, pixels
