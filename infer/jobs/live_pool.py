"""Many live sessions in one process: each a thread of its own, all one device."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from infer.console import say, speaking_as
from infer.errors import JobError
from infer.jobs.live_job import LiveSession, prepare_engine
from infer.jobs.live_report import Meter
from infer.latency import now
from infer.model.engine import Shape
from infer.model.engines import Engines
from infer.model.pool import Member, Refused, Turns
from infer.options import Options
from infer.sinks.encoder_spec import VideoSpec
from infer.sources.live import LiveSource

STATES = ("starts", "runs", "ended", "stopped", "refused", "failed")
# Frames/s: what is above is no rate but the clock of a container without one.
FASTEST = 1000


class Wanted(Protocol):
    """A stream that is wanted. rate: frames/s to be let in for."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Options: ...

    @property
    def rate(self) -> float | None: ...


class StreamFacts(NamedTuple):
    """How a stream is.

    state: one of `STATES`; reason: why it has failed. counters: as a report has them,
    None before it is open. since_first, since_last: seconds since the first and the
    last frame that have left had come, None before them. device: where it is, '' where
    there is one. outages, lost: times that it was begun elsewhere, and frames that
    nobody has seen by that.
    """

    state: str
    reason: str = ""
    is_over: bool = False
    counters: dict[str, Any] | None = None
    rate: float = 0.0
    since_first: float | None = None
    since_last: float | None = None
    device: str = ""
    outages: int = 0
    lost: int = 0


class DeviceFacts(NamedTuple):
    """How a device is; name: '' where there is one. load: the share of its time that
    streams were let in for. pools: model, size and seconds of a frame of each.
    """

    name: str
    load: float
    pools: tuple[tuple[str, str, float], ...]


class Session:
    """A stream of a pool in its thread. state: one of `STATES`; reason: why it has
    failed.
    """

    def __init__(
        self, wish: Wanted, enter: Callable[["Session", Any, Any], Member]
    ) -> None:
        self.wish = wish
        self.state = "starts"
        self.reason = ""
        self.member: Member | None = None
        self.rate = wish.rate or 0.0
        self._enter = enter
        self._stop = threading.Event()
        self._live: LiveSession | None = None
        self._thread = threading.Thread(target=self._run, name=wish.name, daemon=True)
        self._thread.start()

    def facts(self) -> StreamFacts:
        """How it is."""
        meter = self._meter
        facts = StreamFacts(self.state, self.reason, self.is_over, rate=self.rate)
        if meter is None:
            return facts
        return facts._replace(
            counters=meter.as_dict(),
            since_first=meter.since(meter.first),
            since_last=meter.since(meter.last),
        )

    @property
    def _meter(self) -> Meter | None:
        return None if self._live is None else self._live.meter

    @property
    def is_over(self) -> bool:
        """Whether its thread has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Lets it end after the frame in hand, with its output closed."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Waits for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        with speaking_as(self.wish.name):
            try:
                self._do()
                self.state = "ended"
            except KeyboardInterrupt:
                # So a session ends that is told to, before its source has.
                self.state = "stopped"
            except Refused as error:
                self._fail("refused", error)
            except Exception as error:
                self._fail("failed", error)

    def _do(self) -> None:
        options = self.wish.options
        path = options.video[0]
        self._live = LiveSession(options, path, options.output, self._stop)
        self._live.run(partial(self._enter, self))

    def _fail(self, state: str, error: Exception) -> None:
        # Before the state: who sees that it failed sees why.
        words = str(error).split()
        self.reason = " ".join(words) or type(error).__name__
        self.state = state
        say(f"{state:8} {self.reason}")


class LivePool:
    """The sessions of one process, by their names, and the device that they share."""

    def __init__(self, limit: float) -> None:
        self.turns = Turns(limit)
        self.sessions: dict[str, Session] = {}
        self._engines = Engines()

    def streams(self) -> dict[str, StreamFacts]:
        """How each stream is, by its name."""
        # A copy: numbers are asked for from other threads, while `want` changes it.
        sessions = list(self.sessions.items())
        return {name: session.facts() for name, session in sessions}

    def devices(self) -> list[DeviceFacts]:
        """How the device is."""
        pools = []
        for pool in self.turns.pools:
            engine = pool.engine
            height, width, _ = engine.blank().shape
            size = f"{width}x{height}"
            pools.append((engine.model.name, size, pool.seconds))
        return [DeviceFacts("", self.turns.load, tuple(pools))]

    def want(self, wishes: Sequence[Wanted]) -> None:
        """Begins streams that are new, and stops those that are gone or changed.

        To be called again and again: a stream that is changed begins when the old one
        has ended.
        """
        by_name = {wish.name: wish for wish in wishes}
        for name, session in list(self.sessions.items()):
            if by_name.get(name) == session.wish:
                continue
            session.stop()
            # Until then the old one may still write to the output of the new one.
            if session.is_over:
                self._leave(session)
                del self.sessions[name]
        for name, wish in by_name.items():
            if name not in self.sessions:
                self.sessions[name] = Session(wish, self._enter)

    def forget_failures(self) -> None:
        """Lets streams that have failed, or were refused, begin again."""
        for name, session in list(self.sessions.items()):
            if session.is_over and session.reason:
                del self.sessions[name]

    def look_after(self) -> None:
        """Gives back the places of streams that are over."""
        for session in self.sessions.values():
            if session.is_over:
                self._leave(session)

    def drain(self, patience: float) -> bool:
        """Ends all streams; returns whether they have ended in time."""
        for session in self.sessions.values():
            session.stop()
        deadline = now() + patience
        for session in self.sessions.values():
            session.join(max(0.0, deadline - now()))
        sessions = self.sessions.values()
        return all(session.is_over for session in sessions)

    def _leave(self, session: Session) -> None:
        if session.member is not None:
            self.turns.leave(session.member)
            session.member = None

    def _enter(self, session: Session, source: LiveSource, spec: VideoSpec) -> Member:
        """Lets a stream in whose source and output are open."""
        options = session.wish.options
        info = source.info
        size = (spec.width, spec.height)
        shape = Shape(info.width, info.height, info.layout.is_deep, size)
        key = (options.model, options.precision, options.steps, options.tile, shape)
        make = partial(prepare_engine, options, self._engines, source, spec)
        pool = self.turns.pool(key, make)
        rate = session.wish.rate or float(info.rate)
        if rate > FASTEST:
            raise JobError(
                f"{info.path}: says {rate:g} frames/s, expected at most {FASTEST}; "
                "give the true number as its rate"
            )
        session.rate = rate
        session.member = self.turns.admit(pool, rate)
        session.state = "runs"
        return session.member
