"""Compile time, first frame, milliseconds per frame, memory and arithmetic of one step: python -m benchmarks.

Weights are random (of the size asked for), made on the device; frames are noise: neither changes the time.
Every row is one model at one size; ``--json`` keeps the numbers.
"""

import argparse
import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sdvsr_jax import compiled_step, init_state, prepare
from sdvsr_jax.config import PRESETS, ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.types import Params


def random_params(config: ModelConfig) -> Params:
    """Weights of the right shapes, small enough that activations stay finite; ready for `step`."""

    # One random vector repeated into every leaf: a generator per leaf compiles for minutes at full size.
    noise = 0.02 * jax.random.normal(jax.random.key(0), (2**20,))
    params = jax.tree.map(lambda leaf: jnp.resize(noise, leaf.shape), abstract_params(config))
    return jax.jit(prepare, static_argnums=1)(params, config)


def measure(config: ModelConfig, width: int, height: int, num_frames: int) -> dict[str, Any]:
    """One row of the table. Times in seconds unless named otherwise, memory in bytes."""
    params = random_params(config)
    state = init_state(config, 1, height, width)
    frame = jax.random.uniform(jax.random.key(1), (1, height, width, 3), minval=-1)
    start = time.perf_counter()
    run = compiled_step(config).lower(params, state, frame).compile()
    compile_s = time.perf_counter() - start
    times = []
    for _ in range(num_frames + 1):
        start = time.perf_counter()
        state, sr = run(params, state, frame)
        sr.block_until_ready()
        times.append(time.perf_counter() - start)
    steady = sorted(times[1:])
    analysis: Any = run.memory_analysis()
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    return {
        "model": config.name,
        "lr": [width, height],
        "precision": config.compute_dtype,
        "steps": config.diffusion.num_steps,
        "device": device.device_kind,
        "compile_s": compile_s,
        "first_frame_s": times[0],
        "median_ms": 1e3 * steady[len(steady) // 2],
        "p95_ms": 1e3 * steady[min(len(steady) - 1, round(0.95 * len(steady)))],
        "finite": bool(jnp.isfinite(sr).all()),
        "gflop": frame_flops(config, width, height) / 1e9,
        "params_bytes": sum(x.nbytes for x in jax.tree.leaves(params)),
        "temp_bytes": analysis.temp_size_in_bytes,
        "peak_device_bytes": stats.get("peak_bytes_in_use"),
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    columns = "model, LR -> SR, precision, steps, compile s, first ms, median ms, p95 ms, frames/s, GFLOP, temp MB"
    lines = ["| " + columns.replace(", ", " | ") + " |", "|" + "---|" * len(columns.split(", "))]
    for row in rows:
        width, height = row["lr"]
        size = f"{width}x{height} -> {4 * width}x{4 * height}"
        numbers = (
            1e3 * row["first_frame_s"],
            row["median_ms"],
            row["p95_ms"],
            1e3 / row["median_ms"],
            row["gflop"],
        )
        cells = [row["model"], size, row["precision"], str(row["steps"]), f"{row['compile_s']:.1f}"]
        cells += [f"{n:.4g}" for n in (*numbers, row["temp_bytes"] / 1e6)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure every model at every size and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["nano"], choices=sorted(PRESETS))
    parser.add_argument("--sizes", nargs="+", default=["320x180"], help="LR sizes, WIDTHxHEIGHT")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--frames", type=int, default=5, help="steady frames per row")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.models:
        config = dataclasses.replace(PRESETS[name](), compute_dtype=options.precision)
        for size in options.sizes:
            width, height = (int(side) for side in size.split("x"))
            rows.append(measure(config, width, height, options.frames))
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
