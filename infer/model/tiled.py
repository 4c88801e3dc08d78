"""The engine for frames that are too big for the memory: the same stream, tile by tile."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infer.model.engine import Engine, Model, of_size
from infer.model.memory import size_of, temporaries
from sdvsr_jax import tiles
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.pixels import from_pixels, to_pixels
from sdvsr_jax.ops.resize import pad_edges
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.stream import StreamState, frame_noise
from sdvsr_jax.types import Array, Params

OVERLAP = 48
"""LR pixels that neighbouring tiles share (docs/limits.md has the measurement behind
it).
"""


class TiledEngine(Engine):
    """One program begins a frame, two take a tile each, one ends the frame; state and
    results as in `Engine`.
    """

    def __init__(
        self,
        model: Model,
        width: int,
        height: int,
        deep: bool,
        size: tuple[int, int],
        tile: tuple[int, int],
        overlap: int = OVERLAP,
    ) -> None:
        self.grid = tiles.make_grid(
            model.config, height, width, (tile[1], tile[0]), overlap
        )
        self._tiles = [
            (np.array(o, np.int32), np.array(b, np.float32))
            for o, b in zip(self.grid.origins, self.grid.bounds, strict=True)
        ]
        super().__init__(model, width, height, deep, size)

    def _compile(self) -> None:
        config, grid, params, state = (
            self.model.config,
            self.grid,
            self.model.params,
            self.state_shape,
        )
        origin, bounds = (
            jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self._tiles[0]
        )
        begin = jax.jit(functools.partial(_begin, frame=grid.frame, config=config))
        lr, noise, total, cut = jax.eval_shape(begin, state, self._pixels)
        see = jax.jit(
            functools.partial(_see, grid=grid, config=config),
            compiler_options=compiler_options(),
        )
        add = jax.jit(
            functools.partial(tiles.add_tile, grid=grid, config=config),
            donate_argnums=2,
            compiler_options=compiler_options(),
        )
        shape = config.scale * self._height, config.scale * self._width
        end = jax.jit(
            functools.partial(
                _end,
                shape=shape,
                size=self.size,
                dtype=self._pixels.dtype,
                config=config,
            ),
            donate_argnums=0,
        )
        self._begin = begin.lower(state, self._pixels).compile()
        seen = jax.ShapeDtypeStruct((1,), "float32")
        self._see = (
            see.lower(params, state, lr, seen, origin, bounds).compile()
            if config.history.cut_validity
            else None
        )
        self._add = add.lower(
            params, state, total, lr, noise, cut, origin, bounds
        ).compile()
        self._end = end.lower(total, lr).compile()
        self._frame_bytes = size_of((lr, noise, total))

    @property
    def fit(self) -> str:
        return f"{self.grid.tile[1]}x{self.grid.tile[0]}"

    @property
    def num_tiles(self) -> int:
        """Of every frame."""
        return len(self._tiles)

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Start one frame; ``state`` must not be used again."""
        params = self.model.params
        lr, noise, total, cut = self._begin(
            state, jax.device_put(pixels, self.model.device)
        )
        if self._see is not None:
            seen: Any = np.zeros(
                1, np.float32
            )  # goes where the program is, as the tiles do
            for tile in self._tiles:
                seen = self._see(params, state, lr, seen, *tile)
            cut = seen < self.model.config.history.cut_validity
        for tile in self._tiles:
            total = self._add(params, state, total, lr, noise, cut, *tile)
        state, out = self._end(total, lr)
        out.copy_to_host_async()
        return state, out

    def _computing(self) -> int:
        """Weights, the old state and what a frame is made in; the most that any program
        needs beside them.
        """
        programs = [
            p for p in (self._begin, self._see, self._add, self._end) if p is not None
        ]
        found: list[Any] = [p.memory_analysis() for p in programs]
        most = max(
            temporaries(f.temp_size_in_bytes, self.model.device.platform) for f in found
        )
        pixels = self.size[0] * self.size[1] * 3 * self._pixels.dtype.itemsize
        return (
            size_of((self.model.params, self.state_shape))
            + self._frame_bytes
            + most
            + pixels
        )


def _begin(
    state: StreamState, pixels: Array, *, frame: tuple[int, int], config: ModelConfig
) -> tuple[Array, Array, StreamState, Array]:
    """The padded frame, its noise, an empty next state, and no cut."""
    lr = pad_edges(from_pixels(pixels[None]), *frame)
    noise = frame_noise(state, frame, config)
    return lr, noise, tiles.empty_state(state), jnp.zeros(1, bool)


def _see(
    params: Params,
    state: StreamState,
    lr: Array,
    seen: Array,
    origin: Array,
    bounds: Array,
    *,
    grid: tiles.Grid,
    config: ModelConfig,
) -> Array:
    """``seen`` and what this tile adds to the mean validity.

    The sum keeps tiles from running at the same time, each with temporary arrays of its
    own.
    """
    return seen + tiles.tile_validity(
        params, state, lr, origin, bounds, grid=grid, config=config
    )


def _end(
    total: StreamState,
    lr: Array,
    *,
    shape: tuple[int, int],
    size: tuple[int, int],
    dtype: Any,
    config: ModelConfig,
) -> tuple[StreamState, Array]:
    """The next state and the frame's pixels."""
    pixels = to_pixels(of_size(total.prev_sr[0, : shape[0], : shape[1]], size), dtype)
    return tiles.finish_frame(total, lr, config=config), pixels


@functools.lru_cache(maxsize=4)
def tiled_engine_for(
    model: Model,
    width: int,
    height: int,
    deep: bool,
    size: tuple[int, int],
    tile: tuple[int, int],
) -> TiledEngine:
    """As `engine_for`."""
    return TiledEngine(model, width, height, deep, size, tile)
