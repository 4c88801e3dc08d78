"""Several streams on one device: a frame of each in turn, as many as it can take.

All streams of one size share one compiled program, and each has a state of its own, so
that streams come and go without a compilation, and each gets the bytes that it would
get alone. How long a frame takes is measured before the first stream is let in.
"""

import statistics
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from infer.errors import JobError
from infer.model.engine import Engine
from infer.model.layout import Layout
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array

NUM_PROBES = 5
"""Frames by which the time of a frame is measured."""


class Refused(JobError):
    """The device cannot take one more stream of that rate."""


class Turns:
    """A device that does one frame at a time, in the order in which they are asked for.

    A stream asks for its next frame when it has the last, so none can crowd out
    another. limit: the share of the device's time that streams may take together.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        # Turns and no batch: a row of a batch has other bits than the frame alone, and
        # on a CPU a batch was measured to be no faster.
        self._device = ThreadPoolExecutor(1, "device")
        self._pools: dict[Hashable, Pool] = {}
        self._members: list[Member] = []
        # A pool takes its time to be made, in which streams may leave.
        self._making = threading.Lock()
        self._changing = threading.Lock()

    def pool(self, key: Hashable, make: Callable[[], Engine]) -> "Pool":
        """The pool of that kind; the first stream of a kind lets it be made."""
        with self._making:
            if key not in self._pools:
                self._pools[key] = Pool(make(), self._device)
            return self._pools[key]

    def admit(self, pool: "Pool", rate: float) -> "Member":
        """Lets a stream of so many frames/s in; `Refused` says how many would fit."""
        with self._changing:
            share = rate * pool.seconds
            free = self._limit - self.load
            if share > free:
                raise Refused(
                    f"does not fit: {rate:.4g} frames/s would take {share:.0%} of the "
                    f"device, of which {max(free, 0):.0%} is free: at most "
                    f"{max(free, 0) / pool.seconds:.3g} frames/s fit"
                )
            member = Member(pool, share)
            self._members.append(member)
            return member

    def leave(self, member: "Member") -> None:
        """Gives the share of a stream to others."""
        with self._changing:
            self._members.remove(member)

    @property
    def load(self) -> float:
        """The share of the device's time that streams take together."""
        return sum(member.share for member in list(self._members))

    @property
    def pools(self) -> list["Pool"]:
        """All that were made so far."""
        return list(self._pools.values())


class Pool:
    """One program, for all streams of one kind. seconds: of a frame."""

    def __init__(self, engine: Engine, device: ThreadPoolExecutor) -> None:
        self.engine = engine
        self._device = device
        self.seconds = device.submit(_seconds_per_frame, engine).result()

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """Waits for the device, then for the frame."""
        return self._device.submit(_step, self.engine, state, pixels).result()


class Member:
    """The model as one stream of a pool has it. share: of the device's time."""

    def __init__(self, pool: Pool, share: float) -> None:
        self.pool = pool
        self.share = share
        engine = pool.engine
        self.start = engine.start
        self.restart = engine.restart
        self.snapshot = engine.snapshot
        self.is_finite = engine.is_finite

    @property
    def layout(self) -> Layout:
        """How a frame is made to fit."""
        return self.pool.engine.layout

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """As `Engine.step`, when it is this stream's turn."""
        return self.pool.step(state, pixels)


def _step(
    engine: Engine, state: StreamState, pixels: np.ndarray
) -> tuple[StreamState, Array]:
    state, out = engine.step(state, pixels)
    jax.block_until_ready(out)
    return state, out


def _seconds_per_frame(engine: Engine) -> float:
    state = engine.start(0)
    blank = engine.blank()
    times = []
    for _ in range(NUM_PROBES):
        begin = time.perf_counter()
        state, _ = _step(engine, state, blank)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
