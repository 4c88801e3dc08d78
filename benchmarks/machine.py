"""The machine of a run: its rates, versions, memory and energy."""

import contextlib
import functools
import importlib
import importlib.util
import os
import resource
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import clock

Rates = dict[str, float]
"""'float32', 'bfloat16', ... -> FLOP/s of a large matrix product."""


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


def product_rates(precisions: list[str]) -> Rates:
    """Returns the best of several products on the default device; takes seconds."""
    # Large enough that a call takes milliseconds: launches then do not matter.
    size = 1024 if jax.default_backend() == "cpu" else 8192
    product = jax.jit(jnp.matmul)
    rates = {}
    for precision in precisions:
        dtype = jnp.dtype(precision)
        matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
        call = functools.partial(_finish, product, matrix)
        times = clock.in_turns({"product": call}, rounds=12)
        rates[precision] = 2 * size**3 / min(times["product"].rest)
    return rates


def _finish(product: Callable[..., jax.Array], matrix: jax.Array) -> jax.Array:
    return jax.block_until_ready(product(matrix, matrix))


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
