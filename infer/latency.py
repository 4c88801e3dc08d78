"""Latency of every frame of a stream that may last for days, in a fixed amount of
memory.
"""

import time

import numpy as np

now = time.monotonic
"""Seconds on the clock that every moment of a session is measured by."""
RESOLUTION = 0.1e-3
LONGEST = 60.0
POINTS = (50, 95, 99)


class Latency:
    """A histogram of seconds in steps of 0.1 ms; values beyond a minute count as a
    minute.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(round(LONGEST / RESOLUTION) + 1, np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def add(self, seconds: float) -> None:
        """One more frame."""
        self._counts[min(max(0, int(seconds / RESOLUTION)), len(self._counts) - 1)] += 1

    def percentiles(self) -> dict[str, float]:
        """p50, p95 and p99 in milliseconds, not less than the true ones and at most 0.1
        ms more; empty without frames.
        """
        total = len(self)
        if not total:
            return {}
        below = np.cumsum(self._counts)
        bins = (
            int(np.searchsorted(below, -(-total * point // 100))) for point in POINTS
        )
        return {
            f"p{p}": round((b + 1) * RESOLUTION * 1e3, 1)
            for p, b in zip(POINTS, bins, strict=True)
        }

    def __str__(self) -> str:
        found = " ".join(
            f"{name} {value:.1f}" for name, value in self.percentiles().items()
        )
        return f"{found} ms" if found else "-"
