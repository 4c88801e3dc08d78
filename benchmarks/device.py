"""What the device can do and what it used: matmul and copy ceilings, memory, energy."""

import contextlib
import ctypes
import os
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Ceilings = dict[str, float]
"""'float32', 'bfloat16', ... -> FLOP/s of a large matrix product; 'copy' -> bytes/s,
read and written.
"""


def ceilings(precisions: tuple[str, ...]) -> Ceilings:
    """Measured on the default device, best of several; seconds."""
    on_cpu = jax.default_backend() == "cpu"
    size, repeats = (2048, 4) if on_cpu else (8192, 20)
    found = {}
    for precision in precisions:
        a, b = (
            jax.random.normal(jax.random.key(k), (size, size), jnp.dtype(precision))
            for k in (0, 1)
        )
        found[precision] = 2 * size**3 / _best(jax.jit(jnp.matmul), (a, b), repeats)
    found["copy"] = _copy_rate(2**26 if on_cpu else 2**30, repeats)
    return found


def _copy_rate(elements: int, repeats: int) -> float:
    # Adding 1 reads and writes every element; in place, because a fresh array would
    # time the system's page faults.
    add, x, times = (
        jax.jit(lambda x: x + 1, donate_argnums=0),
        jnp.zeros(elements, jnp.float32),
        [],
    )
    for _ in range(3 + repeats):
        start = time.perf_counter()
        x = jax.block_until_ready(add(x))
        times.append(time.perf_counter() - start)
    return 2 * x.nbytes / min(times)


def _best(run: Callable, arguments: tuple, repeats: int) -> float:
    times = []
    for _ in range(3):
        jax.block_until_ready(run(*arguments))
        start = time.perf_counter()
        for _ in range(repeats):
            result = run(*arguments)
        jax.block_until_ready(result)
        times.append((time.perf_counter() - start) / repeats)
    return min(times)


def describe() -> dict[str, Any]:
    """Device, versions, cores and how busy the machine was; belongs to every number."""
    import flax

    device = jax.devices()[0]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "load_1min": load,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def peak_device_bytes() -> int | None:
    """Most that was in use at once on the device since the process began; None where it
    does not say (CPU).
    """
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def peak_host_bytes() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def joules() -> float | None:
    """Energy that the first NVIDIA GPU has used since its driver was loaded; None where
    none reports it.
    """
    with contextlib.suppress(OSError, AttributeError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(
            0, ctypes.byref(handle)
        ):
            return None
        if (
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
            == 0
        ):
            return millijoules.value / 1e3
    return None
