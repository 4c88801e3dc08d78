"""A live session: source, inbox, compiled step, sink; until the source ends or somebody
stops it.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import jax

from infer.console import say, voice
from infer.errors import JobError
from infer.jobs.fitting import layout_of, load, tell
from infer.jobs.live_report import Meter
from infer.jobs.plan import check_target, output_size, wish_of
from infer.jobs.stopping import stopped_by_signals, unless_stopped
from infer.model.announce import describe_model
from infer.model.engine import Engine, Shape
from infer.model.engines import Engines
from infer.model.layout import Layout
from infer.model.memory import available
from infer.model.memory_plan import Need, Planner, predicted
from infer.options import (
    Options,
    limits_of,
    parse_degree,
    parse_size,
    rate_of,
)
from infer.pipeline import Policy, Stepper, run
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.live_encoders import describe_encoder, live_spec
from infer.sinks.stream import LiveSink
from infer.sources.address import (
    PIPE,
    InputAddress,
    RawPictures,
    Target,
    find_input,
    find_target,
)
from infer.sources.inbox import LIVE_DEPTH, Inbox, Overflow
from infer.sources.live import LiveSettings, LiveSource
from infer.sources.network import is_network
from sdvsr_jax.state import StreamState

# Results that wait for the encoder: one is written while the next is computed.
WRITE_BEHIND = 1
# Seconds that the reader gets to close its connection.
GOODBYE = 0.5


class LiveModel(Stepper, Protocol):
    """A model that upscales the frames of a session; `Engine` is one."""

    def start(self, seed: int, degree: float) -> StreamState:
        """Returns the fresh state of a stream."""
        ...

    @property
    def layout(self) -> Layout:
        """How a frame is made to fit."""
        ...


# Makes a model ready for the frames of a source.
Prepare = Callable[[LiveSource, VideoSpec], LiveModel]


def run_live(
    options: Options, path: str, output: str | None, engines: Engines
) -> dict[str, Any]:
    """Upscales a stream until it ends, ``--frames`` are done, or SIGINT or SIGTERM.

    Returns its report. JobError if the source or the output is lost; all that was
    written before is complete and playable.
    """
    stop = threading.Event()
    session = LiveSession(options, path, output, stop)
    with stopped_by_signals(stop):
        return session.run(partial(prepare_engine, options, engines))


class LiveSession:
    """A stream from its source to its output, until it ends or ``stop`` is set.

    meter: its counters, as soon as both ends are open.
    """

    def __init__(
        self, options: Options, path: str, output: str | None, stop: threading.Event
    ) -> None:
        _check_is_there(path)
        target = find_target(output, options.raw_output)
        address = find_input(path, _raw_pictures(options), target.immediate)
        if target.is_file:
            check_target(target.path, path, options.overwrite)
        self._options = options
        self._target = target
        self._address = address
        self._overflow: Overflow = options.live or (
            "block" if address.waits else "drop"
        )
        self._stop = stop
        self.meter: Meter | None = None

    def run(self, prepare: Prepare) -> dict[str, Any]:
        """As `run_live`."""
        options = self._options
        target = self._target
        stop = self._stop
        source = _open_source(options, self._address, target, self._overflow, stop)
        size = output_size(options, source.info)
        spec = live_spec(wish_of(options), source.info, target, size)
        open_sink = partial(LiveSink, target, spec, source, options.timeout, stop)
        sink = unless_stopped(open_sink, stop)
        inbox = Inbox(
            source,
            LIVE_DEPTH,
            self._overflow,
            stop,
            skip=options.start,
            count=options.frames,
        )
        self.meter = meter = Meter(source, inbox, sink)
        try:
            with _losses_told(target):
                _describe(source, sink, target, spec, self._overflow)
                model = unless_stopped(partial(prepare, source, spec), stop)
                meter.begin()
                state = model.start(options.seed, parse_degree(options.restore))
                run(inbox, meter.timed(model), state, sink, self._policy())
        finally:
            was_interrupted = stop.is_set()
            # The reader may be waiting for room in the inbox.
            stop.set()
            inbox.join(GOODBYE)
            # In a thread: a reader that takes nothing must not keep a signal waiting.
            unless_stopped(sink.close, None)
        meter.say("done    ")
        self._tell_interruption(was_interrupted)
        return {**self._facts(model), **meter.as_dict()}

    def _policy(self) -> Policy:
        return Policy(
            write_behind=WRITE_BEHIND,
            patience=GOODBYE,
            skips_similar=self._overflow == "skip-similar",
        )

    def _tell_interruption(self, was_interrupted: bool) -> None:
        """Raises KeyboardInterrupt if frames are missing that would have come."""
        address = self._address
        if was_interrupted and not address.lasts and address.path != PIPE:
            raise KeyboardInterrupt(
                f"interrupted: {self._target.path} ends with the frame it had reached"
            )

    def _facts(self, model: LiveModel) -> dict[str, Any]:
        return {
            "input": self._address.path,
            "output": self._target.path,
            "model": self._options.model,
            "fit": str(model.layout),
            "policy": self._overflow,
        }


def _check_is_there(path: str) -> None:
    if path == PIPE or is_network(path):
        return
    if not os.path.exists(path) or os.path.isdir(path):
        raise ValueError(f"{path}: no such file or stream")


def _raw_pictures(options: Options) -> RawPictures | None:
    if options.input_size is None:
        return None
    width, height = parse_size(options.input_size, "--input-size")
    return RawPictures(width, height, options.raw_format, rate_of(options))


def _open_source(
    options: Options,
    address: InputAddress,
    target: Target,
    overflow: Overflow,
    stop: threading.Event,
) -> LiveSource:
    say(f"live     waiting for {address.path}")
    # A file that nobody makes wait would be read in no time.
    is_recording = address.waits and address.path != PIPE
    is_paced = is_recording and (overflow != "block" or is_network(target.path))
    settings = LiveSettings(
        options.stream,
        options.timeout,
        options.reconnect,
        limits_of(options),
        options.deinterlace,
        is_paced,
    )
    action = partial(LiveSource, address, settings, stop, voice())
    return unless_stopped(action, stop)


def _describe(
    source: LiveSource,
    sink: LiveSink,
    target: Target,
    spec: VideoSpec,
    overflow: Overflow,
) -> None:
    info = source.info
    size = f"{info.width}x{info.height}"
    rate = float(info.rate)
    codec = f"{info.codec} {info.layout.name}"
    say(f"input    {info.path}  {size}, {rate:.6g}/s, {codec}")
    sound = "sound is copied" if sink.has_sound else "no sound"
    if source.audio is not None and not sink.has_sound:
        sound = "WITHOUT the source's sound, which it cannot hold"
    size = f"{spec.width}x{spec.height}"
    encoding = f"{target.muxer}, {describe_encoder(spec)}"
    say(f"output   {target.path}  {size}, {encoding}, {sound}")
    if sink.lost:
        say(f"note     left out: {', '.join(sink.lost)}")
    say(f"live     policy {overflow}, at most {LIVE_DEPTH} frames wait")


@contextmanager
def _losses_told(target: Target) -> Iterator[None]:
    """Makes a full disk or a receiver that leaves an error; a reader that closes its
    pipe ends the session.
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
            f"{target.path}: the disk is full; all that is there is playable"
        ) from None


def prepare_engine(
    options: Options, engines: Engines, source: LiveSource, spec: VideoSpec
) -> Engine:
    """Loads and compiles the engine for the frames of a source, and runs it once."""
    info = source.info
    model = load(options, engines)
    deep = info.layout.is_deep
    size = (spec.width, spec.height)
    shape = Shape(info.width, info.height, deep, size)
    # As in a file job, one frame more is in the hands of either thread.
    need = Need(shape, LIVE_DEPTH + 2, WRITE_BEHIND + 2, spec.live_memory)
    planner = Planner(engines, tell)
    engine = planner.fitting_engine(layout_of(options), need, model)
    describe_model(engine.model, predicted(engine, need), available(model.device))
    # Small programs are compiled when they first run, which must not be a live frame.
    state = engine.restart(engine.start(options.seed))
    state, pixels = engine.step(state, engine.blank())
    jax.block_until_ready((pixels, engine.is_finite(state)))
    return engine
