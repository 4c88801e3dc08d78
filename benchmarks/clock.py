"""Wall-clock times of calls, in turns so that a busy machine is unfair to none."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

Result = TypeVar("Result")

# Frames per second of a camera.
LIVE_RATE = 25

NUM_INPUTS = 3
"""LR frames that every stream goes through again and again."""


class Times(NamedTuple):
    """Seconds of repeated calls, the first apart: it pays for page faults."""

    first: float
    rest: tuple[float, ...]
    cpu: tuple[float, ...]
    """Seconds of this process on all cores: beside other work a fairer measure."""

    @property
    def median(self) -> float:
        # Another process can make a round long, never short: a mean would count it.
        return float(np.median(self.rest))

    @property
    def cpu_median(self) -> float:
        return float(np.median(self.cpu))

    def figures(self, batch: int = 1) -> dict[str, float]:
        """Returns a row's columns of time; a call computes ``batch`` frames."""
        return {
            "median_ms": 1e3 * self.median,
            "p95_ms": 1e3 * float(np.percentile(self.rest, 95)),
            "frames_per_s": batch / self.median,
            "cpu_ms": 1e3 * self.cpu_median,
        }


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Returns the result of a call and its seconds; it must wait for its own result."""
    # Not the time of day, which may be set back.
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, Times]:
    """Makes every call once as a warm-up, then ``rounds`` times in turns."""
    spans: dict[str, list[float]] = {name: [] for name in calls}
    used: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):
        for name, call in calls.items():
            before = time.process_time()
            _, seconds = timed(call)
            spans[name].append(seconds)
            used[name].append(time.process_time() - before)
    times = {}
    for name, (first, *rest) in spans.items():
        times[name] = Times(first, tuple(rest), tuple(used[name][1:]))
    return times
