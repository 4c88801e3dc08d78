"""One row per model, size and precision: compile times, first frame, steady frames, memory, arithmetic, shares.

Weights are random (of the size asked for), made on the device, and frames are noise: neither changes the time.
With PyAV at hand and ``--media`` the shipped model also upscales a real file, decoding and encoding included.
"""

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.ceilings import ceilings
from benchmarks.media import with_media
from benchmarks.models import configure, parser, random_params
from benchmarks.report import table, write
from benchmarks.timing import energy, machine, peak_memory, spread
from sdvsr_jax import init_state, step
from sdvsr_jax.attention import CUSTOM_CALLS
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import frame_flops

COLUMNS = {
    "model": "model", "size": "LR -> SR", "precision": "precision", "compile_cold_s": "compile s",
    "compile_warm_s": "warm s", "compile_exported_s": "exported s", "first_ms": "first ms",
    "median_ms": "median ms", "p95_ms": "p95 ms", "frames_per_s": "frames/s",
    "media_frames_per_s": "with I/O frames/s", "tflop": "TFLOP/frame", "xla_tflop": "XLA's count",
    "share_of_matmul": "of matmul peak", "joules_per_frame": "J/frame", "temp_mb": "temp MB",
    "device_peak_mb": "device peak MB", "host_peak_mb": "host peak MB",
}  # fmt: skip


def compile_times(config: ModelConfig, arguments: tuple) -> tuple[Any, dict[str, float]]:
    """The compiled step, and seconds to get it: from nothing, with a compile cache, with a kept trace as well."""
    jitted: Callable[..., Any] = jax.jit(functools.partial(step, config=config), donate_argnums=1)
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in CUSTOM_CALLS]
    times: dict[str, float] = {}

    def clock(name: str, function: Callable[..., Any]) -> Any:
        jax.clear_caches()
        start = time.perf_counter()
        compiled = function.lower(*arguments).compile()  # type: ignore[attr-defined]
        times[f"compile_{name}_s"] = time.perf_counter() - start
        return compiled

    with empty_cache():
        clock("cold", jitted)
        run = clock("warm", jitted)
        data = export.export(jitted, disabled_checks=checks)(*arguments).serialize()
        for name in ("export_first", "exported"):
            clock(name, jax.jit(export.deserialize(data).call, donate_argnums=1))
    return run, times


@contextlib.contextmanager
def empty_cache() -> Iterator[None]:
    """A compile cache of its own."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        for name, value in zip(names, (folder, 0)):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        yield
    for name, value in zip(names, before):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def measure(config: ModelConfig, width: int, height: int, num_frames: int) -> dict[str, Any]:
    """One row. Times by the name of their unit, memory in bytes and MB."""
    params = random_params(config)
    state = init_state(config, 1, height, width)
    frame = jax.random.uniform(jax.random.key(1), (1, height, width, 3), minval=-1)
    run, times = compile_times(config, (params, state, frame))
    seconds = []
    with energy() as used:
        for _ in range(num_frames + 1):
            start = time.perf_counter()
            state, sr = run(params, state, frame)
            sr.block_until_ready()
            seconds.append(time.perf_counter() - start)
    analysis, cost, peak = run.memory_analysis(), run.cost_analysis() or {}, peak_memory()
    flops = frame_flops(config, width, height)
    steady = spread(seconds[1:])
    ceiling = ceilings((config.compute_dtype,))["matmul"][config.compute_dtype]
    return {
        "model": config.name, "size": f"{width}x{height} -> {4 * width}x{4 * height}",
        "precision": config.compute_dtype, "steps": config.diffusion.num_steps,
        "megapixels": 16 * width * height / 1e6, **times,
        "first_ms": 1e3 * seconds[0], **steady, "finite": bool(jnp.isfinite(sr).all()), "tflop": flops / 1e12,
        "xla_tflop": cost.get("flops", 0) / 1e12, "matmul_tflop_s": ceiling,
        "share_of_matmul": flops / 1e9 / steady["median_ms"] / ceiling,
        "joules_per_frame": used["joules"] / len(seconds) if used else None,
        "params_bytes": sum(x.nbytes for x in jax.tree.leaves(params)), "temp_bytes": analysis.temp_size_in_bytes,
        "temp_mb": analysis.temp_size_in_bytes / 1e6, **peak, "host_peak_mb": (peak["peak_host_bytes"] or 0) / 1e6,
        "device_peak_mb": peak["peak_device_bytes"] and peak["peak_device_bytes"] / 1e6,
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    """Measure every model at every size in every precision and print the table."""
    options = parser("table", __doc__)
    options.add_argument("--media", action="store_true", help="also upscale a file with the shipped model")
    chosen = options.parse_args(arguments)
    peaks = ceilings(tuple(chosen.precisions))
    print(f"{machine()}\nmeasured ceilings: {peaks}", flush=True)
    rows = []
    for name in chosen.models:
        for width, height in chosen.sizes:
            for precision in chosen.precisions:
                row = measure(configure(name, precision), width, height, chosen.frames)
                if chosen.media and name == "nano":
                    row |= with_media(width, height, precision, 4 * chosen.frames)
                rows.append(row)
    print(table(rows, COLUMNS))
    write(
        chosen.json, {"machine": machine(), "ceilings": peaks, "rows": rows, "flags": os.environ.get("XLA_FLAGS")}
    )
