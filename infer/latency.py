"""Latency of every frame of a stream that may last for days, in a fixed amount of
memory.
"""

import time

import numpy as np

# Seconds on the clock that every moment of a session is measured by.
now = time.monotonic
# Seconds; finer than a frame of any camera, and a minute takes 5 MB.
RESOLUTION = 0.1e-3
LONGEST = 60.0
POINTS = (50, 95, 99)


class Latency:
    """A histogram of seconds in steps of 0.1 ms; values beyond a minute count as a
    minute.
    """

    def __init__(self) -> None:
        # The last one counts all that took longer.
        num_steps = round(LONGEST / RESOLUTION) + 1
        self._counts = np.zeros(num_steps, np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def add(self, seconds: float) -> None:
        """Counts one more frame."""
        last = len(self._counts) - 1
        step = int(seconds / RESOLUTION)
        step = min(max(0, step), last)
        self._counts[step] += 1

    def percentiles(self) -> dict[str, float]:
        """Returns p50, p95 and p99 in milliseconds; empty without frames.

        They are not less than the true ones and at most 0.1 ms more.
        """
        total = len(self)
        if not total:
            return {}
        below = np.cumsum(self._counts)
        result = {}
        for point in POINTS:
            # Rounded up: the p99 of 10 frames is the slowest.
            rank = -(-total * point // 100)
            step = int(np.searchsorted(below, rank))
            # The upper end of the step, in which the true one lies.
            seconds = (step + 1) * RESOLUTION
            result[f"p{point}"] = round(seconds * 1e3, 1)
        return result

    def __str__(self) -> str:
        percentiles = self.percentiles()
        if not percentiles:
            return "-"
        words = [f"{name} {value:.1f}" for name, value in percentiles.items()]
        return f"{' '.join(words)} ms"
