"""The one loop of every job: read ahead, step, write behind, mark.

Reading ahead is the inbox's part (`infer.sources.inbox`); writing behind is the
`Worker` here. Order is never changed by either.
"""

import functools
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from infer.errors import JobError
from infer.frame import Frame, Sink, Source
from infer.similar import Similar
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array

# Frames that wait before the device, so that a slow picture does not stop it.
READ_AHEAD = 4
# Results that wait for the encoder: memory does not grow with the video's length.
WRITE_BEHIND = 2
# Seconds between two looks at a thread that may have ended.
POLL = 0.1


class Stepper(Protocol):
    """The model as the loop needs it; `Engine` is one."""

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Returns the next state and the upscaled frame; ``state`` is used up."""
        ...

    def restart(self, state: StreamState) -> StreamState:
        """Returns the state of a stream whose next frame has no past."""
        ...

    def snapshot(self, state: StreamState) -> StreamState:
        """Returns a copy that outlives the next step."""
        ...

    def is_finite(self, state: StreamState) -> Array:
        """Returns whether the last upscaled frame is finite everywhere, a bool []."""
        ...


@dataclass(frozen=True)
class Policy:
    """How the loop runs.

    group: frames between two marks; None for a stream without marks. write_behind:
    results that wait for the sink. skips_similar: a frame nearly equal to the one last
    upscaled gets its picture again. patience: seconds for a write in progress when the
    loop is interrupted; None waits for its end.
    """

    group: int | None = None
    write_behind: int = WRITE_BEHIND
    skips_similar: bool = False
    patience: float | None = None


def run(
    source: Source, model: Stepper, state: StreamState, sink: Sink, policy: Policy
) -> int:
    """Upscales all frames of ``source`` into ``sink``; returns their number.

    JobError if an upscaled frame is not finite.
    """
    similar = Similar() if policy.skips_similar else None
    picture = None
    num_frames = 0
    with Worker(policy.write_behind, policy.patience) as worker:
        for frame in source.frames():
            if similar is None or not similar.matches(frame):
                if frame.is_fresh:
                    state = model.restart(state)
                state, pixels = model.step(state, frame.rgb)
                # Looked at in the sink's thread: here it would wait for the device.
                picture = (pixels, model.is_finite(state))
            assert picture is not None
            worker.put(functools.partial(_write, sink, frame, *picture))
            num_frames += 1
            if policy.group and num_frames % policy.group == 0:
                # The next step uses the state up while the sink may still save it.
                copy = model.snapshot(state)
                worker.put(functools.partial(sink.mark, copy))
        if policy.group and num_frames % policy.group:
            worker.put(functools.partial(sink.mark, state))
    return num_frames


def _write(sink: Sink, frame: Frame, pixels: Array, is_finite: Array) -> None:
    if not is_finite:
        raise JobError(
            f"frame {frame.index}: the upscaled picture holds NaN or infinity, "
            "expected finite values; try --precision float32 or check the weights"
        )
    sink.write(frame, pixels)


class Worker:
    """Runs actions one after the other in a thread, at most ``depth`` waiting.

    A failed action ends the thread; its exception is raised by the next `put` or on
    leaving the context. Leaving by an exception drops the actions that still wait, and
    after ``patience`` seconds leaves the one in progress alone.
    """

    def __init__(self, depth: int, patience: float | None = None) -> None:
        self._patience = patience
        self._actions: queue.Queue[Callable[[], None] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._is_dropping = False
        # A daemon: a write that never ends must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="write", daemon=True)
        self._thread.start()

    def put(self, action: Callable[[], None]) -> None:
        """Queues an action; waits while the queue is full."""
        self._offer(action)
        self._raise()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._is_dropping = kind is not None
        patience = self._patience if self._is_dropping else None
        self._offer(None, patience)
        self._thread.join(patience)
        if kind is None:
            self._raise()

    def _offer(
        self, action: Callable[[], None] | None, patience: float | None = None
    ) -> None:
        longest = math.inf if patience is None else patience
        deadline = time.monotonic() + longest
        # In short waits: a thread that has failed takes nothing out of a full queue.
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._actions.put(action, timeout=POLL)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            action = self._actions.get()
            if action is None:
                return
            if self._is_dropping:
                continue
            try:
                action()
            except BaseException as error:
                self._error = error
                return
