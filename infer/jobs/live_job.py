"""A live session: source, inbox, compiled step, sink; until the source ends or somebody
stops it.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import jax
import numpy as np

from infer.command.options import Options
from infer.console import describe_model, say
from infer.errors import JobError
from infer.jobs.live_report import Meter
from infer.jobs.plan import check_target, output_size
from infer.jobs.stopping import stopped_by_signals, unless_stopped
from infer.latency import now
from infer.model.engine import Engine, load_model
from infer.model.memory import available
from infer.model.memory_plan import Need, fitting_engine, predicted
from infer.overlap import Worker
from infer.sinks.encoders import VideoSpec
from infer.sinks.live_encoders import describe_encoder, live_spec
from infer.sinks.stream import LiveSink
from infer.sources.address import PIPE, Source, Target, find_source, find_target
from infer.sources.inbox import DEPTH, Inbox, Policy, Similar
from infer.sources.live import LiveSource
from infer.sources.network import is_network
from sdvsr_jax.stream import StreamState, reset

WRITE_BEHIND = 1
"""Results that wait for the encoder: the next frame is computed while one is written.
"""


def run_live(options: Options, path: str, output: str | None) -> dict[str, Any]:
    """Upscale a stream until it ends, ``--frames`` are done, or SIGINT or SIGTERM;
    returns its report.

    JobError if the source or the output is lost; what was written before is complete
    and playable.
    """
    if (
        path != PIPE
        and not is_network(path)
        and (not os.path.exists(path) or os.path.isdir(path))
    ):
        raise ValueError(f"{path}: no such file or stream")
    target = find_target(output, options)
    address = find_source(path, options, target.immediate)
    if target.is_file:
        check_target(target.path, path, options.overwrite)
    policy: Policy = options.live or ("block" if address.waits else "drop")
    stop = threading.Event()
    with stopped_by_signals(stop):
        source = _open_source(options, address, target, policy, stop)
        size = output_size(options, source.info)
        spec = live_spec(options, source.info, target, size)
        open_sink = partial(LiveSink, target, spec, source, options.timeout, stop)
        sink = unless_stopped(open_sink, stop)
        inbox = Inbox(source.arrivals(), policy, stop)
        meter = Meter(source, inbox, sink)
        try:
            with _losses_told(target):
                _describe(source, sink, target, spec, policy)
                engine = unless_stopped(partial(_prepare, options, source, spec), stop)
                meter.begin()
                _loop(options, inbox, engine, sink, meter)
        finally:
            interrupted = stop.is_set()
            stop.set()
            inbox.join(0.5)
            sink.close()
        meter.say("done    ")
        if interrupted and not address.lasts and path != PIPE:
            raise KeyboardInterrupt(
                f"interrupted: {target.path} ends with the frame it had reached"
            )
    words = {
        "input": path,
        "output": target.path,
        "model": options.model,
        "fit": engine.fit,
        "policy": policy,
    }
    return {**words, **meter.as_dict()}


def _open_source(
    options: Options,
    address: Source,
    target: Target,
    policy: Policy,
    stop: threading.Event,
) -> LiveSource:
    say(f"live     waiting for {address.path}")
    action = partial(
        LiveSource,
        address,
        stop,
        say,
        stream=options.stream,
        timeout=options.timeout,
        patience=options.reconnect,
        trusted=options.trust_playlist,
        deinterlace=options.deinterlace,
        paced=address.waits
        and address.path != PIPE
        and (policy != "block" or is_network(target.path)),
    )
    return unless_stopped(action, stop)


def _describe(
    source: LiveSource, sink: LiveSink, target: Target, spec: VideoSpec, policy: Policy
) -> None:
    info = source.info
    size = f"{info.width}x{info.height}, {float(info.rate):.6g}/s"
    say(f"input    {info.path}  {size}, {info.codec} {info.layout.name}")
    sound = "sound is copied" if sink.has_sound else "no sound"
    if source.audio is not None and not sink.has_sound:
        sound = "WITHOUT the source's sound, which it cannot hold"
    size = f"{spec.width}x{spec.height}"
    say(
        f"output   {target.path}  {size}, {target.muxer}, {describe_encoder(spec)}, {sound}"
    )
    if sink.lost:
        say(f"note     left out: {', '.join(sink.lost)}")
    say(f"live     policy {policy}, at most {DEPTH} frames wait")


@contextmanager
def _losses_told(target: Target) -> Iterator[None]:
    """A reader that closes its pipe ends the session; a receiver that leaves or a full
    disk is an error.
    """
    try:
        yield
    except ConnectionError:
        if target.path != PIPE:
            raise JobError(f"{target.path}: the receiver is gone") from None
        say("live     the reader has closed the pipe")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise JobError(
            f"{target.path}: the disk is full; what is there is playable"
        ) from None


def _prepare(options: Options, source: LiveSource, spec: VideoSpec) -> Engine:
    o, info, deep = options, source.info, source.info.layout.is_deep
    model = load_model(
        o.model, o.device, o.precision, o.steps, o.flow_weights, o.offline
    )
    size, queued = (spec.width, spec.height), (DEPTH + 2, WRITE_BEHIND + 2)
    need = Need(info.width, info.height, deep, size, *queued, spec.live_memory)
    engine = fitting_engine(o.tile, need, model)
    describe_model(engine.model, predicted(engine, need), available(model.device))
    blank = np.zeros((info.height, info.width, 3), np.uint16 if deep else np.uint8)
    jax.block_until_ready(
        engine.step(_restart(engine, engine.start(o.seed)), blank)
    )  # compiles what is left
    return engine


def _loop(
    options: Options, inbox: Inbox, engine: Engine, sink: LiveSink, meter: Meter
) -> None:
    """The driver: one frame at a time, computed as soon as the one before it is."""
    state = engine.start(options.seed)
    similar = Similar() if inbox.policy == "skip-similar" else None
    stop = None if options.frames is None else options.start + options.frames
    with Worker(WRITE_BEHIND) as worker:
        for arrival in islice(inbox, options.start, stop):
            if similar is not None and similar.matches(arrival):
                worker.put(partial(sink.repeat, arrival))
                continue
            begun = now()
            if arrival.fresh:
                state = _restart(engine, state)
            state, pixels = engine.step(state, arrival.rgb)
            jax.block_until_ready(pixels)
            meter.steps.add(now() - begun)
            worker.put(partial(sink.write, arrival, pixels))
            meter.say_sometimes()


def _restart(engine: Engine, state: StreamState) -> StreamState:
    return reset(state, jax.device_put(np.ones(1, bool), engine.model.device))
