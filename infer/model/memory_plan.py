"""Every frame fits: whole where the memory allows it, else with the thrifty
correlation, else in tiles.
"""

import functools
import math
from dataclasses import replace
from typing import NamedTuple

import jax

from infer.command.options import Options, parse_tile
from infer.console import in_words, say
from infer.drive import READ_AHEAD, WRITE_BEHIND
from infer.errors import JobError
from infer.jobs.plan import Plan
from infer.jobs.work_folder import folder_of, read_sealed
from infer.model import memory
from infer.model.engine import Engine, Model, engine_for
from infer.model.tiled import OVERLAP, tiled_engine_for
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.memory import peak_bytes
from sdvsr_jax.models.flow.correlation import VOLUME_LIMIT, volume_bytes
from sdvsr_jax.stream import init_state, padded_size, step

PLAIN = 640 * 360
"""Frames up to this many pixels are not looked at before they are compiled: that costs
a second.
"""
SLACK = 0.9
SMALLEST = 128


class Need(NamedTuple):
    """What has to fit. size: (W, H) of the output; frames_in, frames_out: held before
    and after the device.
    """

    width: int
    height: int
    deep: bool
    size: tuple[int, int]
    frames_in: int
    frames_out: int
    encoder: int
    """Bytes."""


def need_of_job(plan: Plan) -> Need:
    """What a file job needs."""
    info, encoder = plan.info, plan.spec.memory if plan.spec else 0
    queued = READ_AHEAD + 2, WRITE_BEHIND + 2
    return Need(
        info.width, info.height, info.layout.is_deep, plan.size, *queued, encoder
    )


def engine_for_job(options: Options, plan: Plan, model: Model) -> Engine:
    """The engine of a job; unfinished work goes on as it was fitted."""
    wanted = options.tile
    if wanted == "auto":
        wanted = _earlier(plan.target) or "auto"
    return fitting_engine(wanted, need_of_job(plan), model)


def fitting_engine(wanted: str, need: Need, model: Model) -> Engine:
    """The engine for frames of that kind; its `model` may differ from the given one in
    the way correlation is looked up. wanted: a value of --tile, or 'on_demand'.
    """
    if wanted == "on_demand":
        return _whole(need, _on_demand(model))
    if wanted == "off":
        return _whole(need, model)
    if wanted != "auto":
        return _tiled(need, model, parse_tile(wanted))
    return _choose(need, model)


def predicted(engine: Engine, need: Need) -> memory.Memory:
    """What the work will take, its encoder included."""
    found = engine.memory(need.frames_in, need.frames_out)
    return replace(found, host=found.host + need.encoder)


def _earlier(output: str) -> str | None:
    """How the unfinished work on this output was fitted: another tiling would make
    other pixels.
    """
    try:
        return read_sealed(folder_of(output) / "job.json")["fit"]
    except (JobError, KeyError):
        return None


def _choose(need: Need, model: Model) -> Engine:
    free = memory.available(model.device)
    if free is None:
        return _whole(need, model)
    free += memory.size_of(
        model.params
    )  # they are there already, and predictions count them
    for variant in (model, *([_on_demand(model)] if _has_volume(need, model) else [])):
        if need.width * need.height > PLAIN and estimate(need, variant).whole > free:
            continue
        engine = _whole(need, variant)
        if predicted(engine, need).fits(model.device.platform, free):
            if variant is not model:
                say(
                    "fit      correlation is looked up on demand, because its volume does not fit into the memory"
                )
            return engine
    return _largest_tiles(need, model, free)


def _whole(need: Need, model: Model) -> Engine:
    return engine_for(model, need.width, need.height, need.deep, need.size)


def _tiled(need: Need, model: Model, tile: tuple[int, int]) -> Engine:
    engine = tiled_engine_for(
        model, need.width, need.height, need.deep, need.size, tile
    )
    return engine if engine.num_tiles > 1 else _whole(need, model)


def _largest_tiles(need: Need, model: Model, free: int) -> Engine:
    width, height = need.width, need.height
    guess = estimate(need, model)
    room = (
        SLACK * free - guess.held - 1.2 * guess.state
    )  # the next frame's state, LR frame and noise
    side = math.isqrt(max(0, round(room * width * height / guess.networks)))
    while True:
        side = max(SMALLEST, min(side, max(width, height) - 1))
        engine = _tiled(need, model, (side, side))
        if (
            predicted(engine, need).fits(model.device.platform, free)
            or side == SMALLEST
        ):
            break
        side = side * 3 // 4
    exact = (
        ""
        if model.config.unet.norm == "rms"
        else "; this model normalises over the frame, so tiles differ a bit"
    )
    say(
        f"fit      tiles of {engine.fit} that share {OVERLAP} pixels, because {width}x{height} frames need "
        f"{in_words(guess.whole)} at once and {in_words(free)} are available{exact}"
    )
    return engine


class Estimate(NamedTuple):
    """Bytes of the work, before anything is compiled. held: weights, state, queues,
    encoder; networks: the rest.
    """

    held: int
    state: int
    networks: int

    @property
    def whole(self) -> int:
        """Without tiles."""
        return self.held + self.networks


def estimate(need: Need, model: Model) -> Estimate:
    """From the traced step; nothing is computed."""
    config = model.config
    state = jax.eval_shape(lambda: init_state(config, 1, need.height, need.width))
    queued = 3 * (
        need.frames_in * need.width * need.height
        + need.frames_out * need.size[0] * need.size[1]
    )
    host = queued * (1 + need.deep) + need.encoder
    held = memory.size_of((model.params, state, state)) + (
        host if model.device.platform == "cpu" else 0
    )
    frame = jax.ShapeDtypeStruct((1, need.height, need.width, 3), "float32")
    traced = peak_bytes(
        functools.partial(step, config=config), model.params, state, frame
    )
    return Estimate(
        held, memory.size_of(state), memory.temporaries(traced, model.device.platform)
    )


def _has_volume(need: Need, model: Model) -> bool:
    flow = model.config.flow
    if not isinstance(flow, RAFTConfig) or flow.correlation == "on_demand":
        return False
    config = model.config
    height, width = (
        s * config.scale // 8 for s in padded_size(need.height, need.width, config)
    )
    return (
        flow.correlation == "volume" or volume_bytes(1, height, width) <= VOLUME_LIMIT
    )


def _on_demand(model: Model) -> Model:
    flow = model.config.flow
    assert isinstance(flow, RAFTConfig)
    return replace(
        model, config=replace(model.config, flow=replace(flow, correlation="on_demand"))
    )
