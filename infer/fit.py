"""Every frame fits: whole where the memory allows it, else with the thrifty correlation, else in tiles."""

import functools
import math
from dataclasses import replace
from typing import NamedTuple

import jax

from infer import memory
from infer.console import in_words, say
from infer.drive import READ_AHEAD, WRITE_BEHIND
from infer.engine import Engine, Model, engine_for
from infer.errors import JobError
from infer.options import Options, parse_tile
from infer.plan import Plan
from infer.tiled import OVERLAP, tiled_engine_for
from infer.work import folder_of, read_sealed
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.memory import peak_bytes
from sdvsr_jax.models.correlation import VOLUME_LIMIT, volume_bytes
from sdvsr_jax.stream import init_state, padded_size, step

QUEUED = READ_AHEAD + 2, WRITE_BEHIND + 2
"""Frames that a job holds before and after the device."""
PLAIN = 640 * 360
"""Frames up to this many pixels are not looked at before they are compiled: that costs a second."""
SLACK = 0.9
SMALLEST = 128


def engine_for_job(options: Options, plan: Plan, model: Model) -> Engine:
    """The engine of a job; its `model` may differ from the given one in the way correlation is looked up."""
    wanted = options.tile
    if wanted == "auto":
        wanted = _earlier(plan.target) or "auto"
    if wanted == "on_demand":
        return _whole(plan, _on_demand(model))
    if wanted == "off":
        return _whole(plan, model)
    if wanted != "auto":
        return _tiled(plan, model, parse_tile(wanted))
    return _choose(plan, model)


def predicted(engine: Engine, plan: Plan) -> memory.Memory:
    """What the job will take, its encoder included."""
    found = engine.memory(*QUEUED)
    return replace(found, host=found.host + (plan.spec.memory if plan.spec else 0))


def _earlier(output: str) -> str | None:
    """How the unfinished work on this output was fitted: another tiling would make other pixels."""
    try:
        return read_sealed(folder_of(output) / "job.json")["fit"]
    except (JobError, KeyError):
        return None


def _choose(plan: Plan, model: Model) -> Engine:
    free = memory.available(model.device)
    if free is None:
        return _whole(plan, model)
    free += memory.size_of(model.params)  # they are there already, and predictions count them
    for variant in (model, *([_on_demand(model)] if _has_volume(plan, model) else [])):
        if plan.info.width * plan.info.height > PLAIN and estimate(plan, variant).whole > free:
            continue
        engine = _whole(plan, variant)
        if predicted(engine, plan).fits(model.device.platform, free):
            if variant is not model:
                say("fit      correlation is looked up on demand, because its volume does not fit into the memory")
            return engine
    return _largest_tiles(plan, model, free)


def _whole(plan: Plan, model: Model) -> Engine:
    info = plan.info
    return engine_for(model, info.width, info.height, info.layout.is_deep, plan.size)


def _tiled(plan: Plan, model: Model, tile: tuple[int, int]) -> Engine:
    info = plan.info
    engine = tiled_engine_for(model, info.width, info.height, info.layout.is_deep, plan.size, tile)
    return engine if engine.num_tiles > 1 else _whole(plan, model)


def _largest_tiles(plan: Plan, model: Model, free: int) -> Engine:
    width, height = plan.info.width, plan.info.height
    guess = estimate(plan, model)
    room = SLACK * free - guess.held - 1.2 * guess.state  # the next frame's state, LR frame and noise
    side = math.isqrt(max(0, round(room * width * height / guess.networks)))
    while True:
        side = max(SMALLEST, min(side, max(width, height) - 1))
        engine = _tiled(plan, model, (side, side))
        if predicted(engine, plan).fits(model.device.platform, free) or side == SMALLEST:
            break
        side = side * 3 // 4
    exact = (
        "" if model.config.unet.norm == "rms" else "; this model normalises over the frame, so tiles differ a bit"
    )
    say(f"fit      tiles of {engine.fit} that share {OVERLAP} pixels, because {width}x{height} frames need "
        f"{in_words(guess.whole)} at once and {in_words(free)} are available{exact}")  # fmt: skip
    return engine


class Estimate(NamedTuple):
    """Bytes of a job, before anything is compiled. held: weights, state, queues, encoder; networks: the rest."""

    held: int
    state: int
    networks: int

    @property
    def whole(self) -> int:
        """Without tiles."""
        return self.held + self.networks


def estimate(plan: Plan, model: Model) -> Estimate:
    """From the traced step; nothing is computed."""
    config, info = model.config, plan.info
    state = jax.eval_shape(lambda: init_state(config, 1, info.height, info.width))
    queued = 3 * (QUEUED[0] * info.width * info.height + QUEUED[1] * plan.size[0] * plan.size[1])
    host = queued * (1 + info.layout.is_deep) + (plan.spec.memory if plan.spec else 0)
    held = memory.size_of((model.params, state, state)) + (host if model.device.platform == "cpu" else 0)
    frame = jax.ShapeDtypeStruct((1, info.height, info.width, 3), "float32")
    traced = peak_bytes(functools.partial(step, config=config), model.params, state, frame)
    return Estimate(held, memory.size_of(state), memory.temporaries(traced, model.device.platform))


def _has_volume(plan: Plan, model: Model) -> bool:
    flow = model.config.flow
    if not isinstance(flow, RAFTConfig) or flow.correlation == "on_demand":
        return False
    config = model.config
    height, width = (s * config.scale // 8 for s in padded_size(plan.info.height, plan.info.width, config))
    return flow.correlation == "volume" or volume_bytes(1, height, width) <= VOLUME_LIMIT


def _on_demand(model: Model) -> Model:
    flow = model.config.flow
    assert isinstance(flow, RAFTConfig)
    return replace(model, config=replace(model.config, flow=replace(flow, correlation="on_demand")))
