"""Every frame fits: whole where the memory allows it, else with the thrifty
correlation, else in tiles.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import jax

from infer.model import memory
from infer.model.engine import Engine, Model, Shape
from infer.model.engines import Engines
from infer.model.layout import OVERLAP, Layout, OnDemand, Tiles, Whole
from sdvsr_jax.config import RAFTConfig

if TYPE_CHECKING:
    from infer.model.tiled import TiledEngine

PLAIN = 640 * 360
"""Frames up to this many pixels are not looked at before they are compiled: that costs
a second.
"""
SLACK = 0.9
"""Share of the free memory that tiles may fill; the rest is for allocators' holes."""
SMALLEST = 128
"""LR pixels; below it most of a tile is overlap."""


class Need(NamedTuple):
    """A job's demand. frames_in, frames_out: held before and after the device.

    encoder: bytes that the encoder takes.
    """

    shape: Shape
    frames_in: int
    frames_out: int
    encoder: int


class Planner:
    """Finds the engine that fits the memory. tell: gets a line if not Whole."""

    def __init__(self, engines: Engines, tell: Callable[[str], None]) -> None:
        self._engines = engines
        self._tell = tell

    def fitting_engine(self, layout: Layout | None, need: Need, model: Model) -> Engine:
        """Returns the engine of that layout; without one, of the first that fits.

        Its `model` differs from the given one where correlation is looked up on demand.
        """
        match layout:
            case Whole():
                return self._whole(need, model)
            case OnDemand():
                return self._whole(need, _on_demand(model))
            case Tiles():
                return self._tiled(need, model, layout)
        return self._choose(need, model)

    def _choose(self, need: Need, model: Model) -> Engine:
        free = memory.available(model.device)
        if free is None:
            return self._whole(need, model)
        # Weights are there already, and predictions count them.
        free += memory.size_of(model.params)
        variants = [model]
        if _has_volume(need, model):
            variants.append(_on_demand(model))
        num_pixels = need.shape.width * need.shape.height
        is_plain = num_pixels <= PLAIN
        for variant in variants:
            if not is_plain and estimate(need, variant).whole > free:
                continue
            engine = self._whole(need, variant)
            if predicted(engine, need).fits(model.device.platform, free):
                if variant is not model:
                    self._tell(
                        "correlation is looked up on demand, because its volume does "
                        "not fit into the memory"
                    )
                return engine
        return self._largest_tiles(need, model, free)

    def _whole(self, need: Need, model: Model) -> Engine:
        return self._engines.whole(model, need.shape)

    def _tiled(self, need: Need, model: Model, tile: Tiles) -> Engine:
        engine: TiledEngine = self._engines.tiled(model, need.shape, tile)
        if engine.num_tiles == 1:
            return self._whole(need, model)
        return engine

    def _largest_tiles(self, need: Need, model: Model, free: int) -> Engine:
        width = need.shape.width
        height = need.shape.height
        guess = estimate(need, model)
        # The next frame's state, LR frame and noise are there beside the networks.
        room = SLACK * free - guess.lasting - 1.2 * guess.state
        # The networks take memory by the pixel.
        pixels = round(room * width * height / guess.networks)
        side = math.isqrt(max(0, pixels))
        # A tile of the frame's size would be the whole frame again.
        largest = max(width, height) - 1
        while True:
            side = max(SMALLEST, min(side, largest))
            tile = Tiles(side, side)
            engine = self._tiled(need, model, tile)
            prediction = predicted(engine, need)
            fits = prediction.fits(model.device.platform, free)
            if fits or side == SMALLEST:
                break
            side = side * 3 // 4
        reason = _why_tiles(need, model, engine, guess.whole, free)
        self._tell(reason)
        return engine


def _why_tiles(need: Need, model: Model, engine: Engine, whole: int, free: int) -> str:
    shape = need.shape
    frames = f"{shape.width}x{shape.height} frames"
    frame_mib = whole // 2**20
    free_mib = free // 2**20
    text = (
        f"tiles of {engine.layout} that share {OVERLAP} pixels, because {frames} need "
        f"{frame_mib} MiB at once and {free_mib} MiB are available"
    )
    if model.config.unet.norm == "rms":
        return text
    return f"{text}; this model normalises over the frame, so tiles differ a bit"


def predicted(engine: Engine, need: Need) -> memory.Memory:
    """Returns the bytes that the work will take, its encoder and this process included.

    To be called with the engine compiled: libraries and compiler have taken theirs.
    """
    prediction = engine.memory(need.frames_in, need.frames_out)
    process = memory.resident()
    if engine.model.device.platform == "cpu":
        # The device's prediction counts the weights, which are there already.
        process -= memory.size_of(engine.model.params)
    host = prediction.host + need.encoder
    return replace(prediction, host=host, process=max(0, process))


class Estimate(NamedTuple):
    """Bytes of the work, before anything is compiled.

    lasting: weights, state, queues, encoder. networks: the rest.
    """

    lasting: int
    state: int
    networks: int

    @property
    def whole(self) -> int:
        """Without tiles."""
        return self.lasting + self.networks


def estimate(need: Need, model: Model) -> Estimate:
    """Returns the bytes by the traced step; nothing is computed."""
    # Most jobs start without a look at the networks.
    from sdvsr_jax.memory import peak_bytes
    from sdvsr_jax.stream import init_state, step

    config = model.config
    shape = need.shape
    height = shape.height
    width = shape.width
    state = jax.eval_shape(lambda: init_state(config, 1, height, width))
    out_width, out_height = shape.size
    pixels_in = need.frames_in * width * height
    pixels_out = need.frames_out * out_width * out_height
    bytes_per_pixel = 6 if shape.is_deep else 3
    host = bytes_per_pixel * (pixels_in + pixels_out) + need.encoder
    platform = model.device.platform
    lasting = memory.size_of((model.params, state, state))
    if platform == "cpu":
        lasting += host
    frame = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
    traced_step = functools.partial(step, config=config)
    traced = peak_bytes(traced_step, model.params, state, frame)
    networks = memory.temporaries(traced, platform)
    return Estimate(lasting, memory.size_of(state), networks)


def _has_volume(need: Need, model: Model) -> bool:
    config = model.config
    flow = config.flow
    if not isinstance(flow, RAFTConfig) or flow.correlation == "on_demand":
        return False
    if flow.correlation == "volume":
        return True
    from sdvsr_jax.models.flow.correlation import VOLUME_LIMIT, volume_bytes
    from sdvsr_jax.stream import padded_size

    padded = padded_size(need.shape.height, need.shape.width, config)
    height, width = (side * config.scale // 8 for side in padded)
    return volume_bytes(1, height, width) <= VOLUME_LIMIT


def _on_demand(model: Model) -> Model:
    flow = model.config.flow
    assert isinstance(flow, RAFTConfig)
    thrifty = replace(flow, correlation="on_demand")
    config = replace(model.config, flow=thrifty)
    return replace(model, config=config)
