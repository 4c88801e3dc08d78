"""The machine of a run: its rates, versions, memory and energy."""

import contextlib
import functools
import importlib
import importlib.util
import os
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

    device, *_ = jax.devices()
    load = None
    # Not on every system.
    if hasattr(os, "getloadavg"):
        load, _, _ = os.getloadavg()
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
        key = jax.random.key(0)
        matrix = jax.random.normal(key, (size, size), dtype)
        call = functools.partial(_finish, product, matrix)
        (times,) = clock.in_turns([call], rounds=12)
        rates[precision] = 2 * size**3 / min(times.wall)
    return rates


def _finish(product: Callable[..., jax.Array], matrix: jax.Array) -> jax.Array:
    result = product(matrix, matrix)
    return jax.block_until_ready(result)


def peak_device_bytes() -> int | None:
    """Returns the most that was in use at once so far; None on a CPU."""
    device, *_ = jax.devices()
    statistics = device.memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


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
