"""The machine of a run: its ceilings, versions, memory and energy."""

import contextlib
import functools
import importlib
import importlib.util
import os
import resource
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Ceilings = dict[str, float]
"""'float32', 'bfloat16', ... -> FLOP/s of a large matrix product; 'copy' -> bytes/s,
read and written.
"""


def stand_in_for_jaxtyping() -> None:
    """Makes ``import jaxtyping`` work where only jax, flax, einops and numpy are.

    Shape annotations then mean their array type and nothing is checked.
    """
    is_there = importlib.util.find_spec("jaxtyping") is not None
    if "jaxtyping" in sys.modules or is_there:
        return
    module = types.ModuleType("jaxtyping")
    module.__dict__["Array"] = jax.Array
    # Whatever kinds of arrays there are: Float, Int, Key, ...
    module.__dict__["__getattr__"] = lambda name: _ArrayType()
    sys.modules["jaxtyping"] = module


class _ArrayType:
    def __getitem__(self, item: Any) -> Any:
        return item[0] if isinstance(item, tuple) else item


def absent_packages(*names: str) -> list[str]:
    """Returns those that cannot be imported here."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def describe() -> dict[str, Any]:
    """Returns device, versions, cores and load; they belong to every number."""
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


def ceilings(precisions: list[str]) -> Ceilings:
    """Returns the best of several measurements on the default device; takes seconds."""
    on_cpu = jax.default_backend() == "cpu"
    # Large enough that a call takes milliseconds: launches then do not matter.
    size = 1024 if on_cpu else 8192
    repeats = 4 if on_cpu else 20
    peaks = {}
    for precision in precisions:
        shape = (size, size)
        dtype = jnp.dtype(precision)
        matrix = jax.random.normal(jax.random.key(0), shape, dtype)
        product = functools.partial(jax.jit(jnp.matmul), matrix, matrix)
        seconds = _best_of(product, repeats)
        peaks[precision] = 2 * size**3 / seconds
    # Larger than every cache.
    elements = 2**26 if on_cpu else 2**30
    peaks["copy"] = _copy_rate(elements, repeats)
    return peaks


def _best_of(run: Callable[[], jax.Array], repeats: int) -> float:
    """Returns seconds of one call, of the best of three rounds."""
    jax.block_until_ready(run())
    rounds = []
    # Two more rounds than one: another process may have taken the first.
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(repeats):
            result = run()
        jax.block_until_ready(result)
        rounds.append((time.perf_counter() - start) / repeats)
    return min(rounds)


def _copy_rate(elements: int, repeats: int) -> float:
    # Adding 1 reads and writes every element; in place, because a fresh array would
    # time the system's page faults.
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros(elements, jnp.float32)
    rounds = []
    # The first three compile, touch fresh pages and settle.
    for _ in range(3 + repeats):
        start = time.perf_counter()
        x = jax.block_until_ready(add(x))
        rounds.append(time.perf_counter() - start)
    return 2 * x.nbytes / min(rounds)


def peak_device_bytes() -> int | None:
    """Returns the most that was in use at once so far; None on a CPU."""
    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def peak_host_bytes() -> int:
    """Returns the peak resident memory of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Linux counts in KiB.
    return usage.ru_maxrss * 1024


def joules() -> float | None:
    """Returns the energy of the first NVIDIA GPU since its driver was loaded.

    None where no GPU reports it, or where nvidia-ml-py is not installed.
    """
    if absent_packages("pynvml"):
        return None
    pynvml = importlib.import_module("pynvml")

    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
    return None
