"""Clocks: alternating runs, so that a busy machine slows all sides alike, and what they cost beside time."""

import contextlib
import functools
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax


def alternate(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, ``rounds`` times in turn; a run returns when its result is there."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(time.perf_counter() - start)
    return times


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, and runs per second by the median."""
    ordered = sorted(seconds)
    late = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    median = statistics.median(ordered)
    return {"median_ms": 1e3 * median, "p95_ms": 1e3 * late, "frames_per_s": 1 / median}


def machine() -> dict[str, Any]:
    """Where a number comes from, the load of the machine included."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "jax": jax.__version__,
    }


def peak_memory() -> dict[str, int | None]:
    """Highest so far in this process, in bytes; the device's is None where it does not tell."""
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "peak_device_bytes": stats.get("peak_bytes_in_use"),
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


@contextlib.contextmanager
def energy() -> Iterator[dict[str, float]]:
    """Joules that the GPU used meanwhile, under 'joules'; nothing where it does not tell."""
    used: dict[str, float] = {}
    before = _millijoules()
    yield used
    after = _millijoules()
    if before is not None and after is not None:
        used["joules"] = (after - before) / 1e3


def _millijoules() -> float | None:
    counter = _energy_counter()
    return None if counter is None else counter()


@functools.cache
def _energy_counter() -> Callable[[], float] | None:
    if jax.devices()[0].platform != "gpu":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no library, no permission or no counter: then there is no such column
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
