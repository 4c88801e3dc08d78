"""Times of calls, in turns so that a busy machine is unfair to none."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Result = TypeVar("Result")

NUM_INPUTS = 3
"""LR frames that every stream goes through again and again."""


class Times(NamedTuple):
    """Seconds of repeated calls on the wall, and of this process on all cores: beside
    other work a fairer measure.
    """

    wall: list[float]
    cpu: list[float]

    @property
    def median(self) -> float:
        # Another process can make a round long, never short: a mean would count it.
        return float(np.median(self.wall))

    @property
    def cpu_median(self) -> float:
        return float(np.median(self.cpu))

    def figures(self, batch: int = 1) -> dict[str, float]:
        """Returns a row's columns of time; a call computes ``batch`` frames."""
        return {
            "median_ms": 1e3 * self.median,
            "frames_per_s": batch / self.median,
            "cpu_ms": 1e3 * self.cpu_median,
        }


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Returns the result of a call and its seconds; it must wait for its own result."""
    # Not the time of day, which may be set back.
    start = time.perf_counter()
    result = call()
    end = time.perf_counter()
    return result, end - start


def in_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[Times]:
    """Makes every call once as a warm-up, then ``rounds`` times in turns."""
    times = [Times([], []) for _ in calls]
    # The first call pays for page faults.
    for call in calls:
        call()
    for _ in range(rounds):
        for call, (wall, cpu) in zip(calls, times):
            start = time.process_time()
            _, seconds = timed(call)
            end = time.process_time()
            wall.append(seconds)
            cpu.append(end - start)
    return times
