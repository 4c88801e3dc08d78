"""Cost against size (it must be linear) and throughput against streams in a batch."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import clock, report
from benchmarks.inputs import noise_frame, prepared_params
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.state import reset
from sdvsr_jax.stream import Step, compile_step, init_state
from sdvsr_jax.types import Prepared

Points = list[dict[str, Any]]

# All 16:9, and 16 times as many pixels at the end.
SIZES = ("160x90", "320x180", "480x270", "640x360")
BATCHES = (1, 2, 4, 8)


def run_sizes(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'sizes'."""
    pairs = [report.size_of(size) for size in options.sweep or SIZES]
    curves = results.setdefault("sizes", {})
    for name, config in report.configs(options).items():
        points = sizes(config, pairs, options.frames)
        curves[name] = points
        report.write_json(options.out / "results.json", results)
        print(report.plain_table(points))
        power = exponent(points)
        print(f"{name}: ms = a * pixels ** {power:.3f} (1: linear)", flush=True)


def run_streams(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'streams'."""
    size = report.size_of(options.sizes[0])
    batches = options.batches or BATCHES
    for name, config in report.configs(options).items():
        points = streams(config, batches, *size, options.frames)
        results.setdefault("streams", {})[name] = points
        print(report.plain_table(points), flush=True)


def sizes(
    config: ModelConfig,
    pairs: list[tuple[int, int]],
    rounds: int,
    params: Prepared | None = None,
) -> Points:
    """Returns milliseconds of a frame at each LR size (width, height).

    One size after the other: together they would not fit into memory, and on a CPU
    small frames pay for pages that large ones gave back.
    """
    params = prepared_params(config) if params is None else params
    points = []
    for width, height in pairs:
        call = driver(config, params, 1, width, height)
        times = clock.in_turns({"frame": call}, rounds)["frame"]
        point = {
            "lr": [width, height],
            "pixels": width * height,
            "median_ms": 1e3 * times.median,
            "us_per_lr_pixel": 1e6 * times.median / (width * height),
            "gflop": frame_flops(config, width, height) / 1e9,
        }
        points.append(point)
    return points


def exponent(points: Points) -> float:
    """Returns b of ms = a * pixels**b by least squares: 1 is linear."""
    # A power is a straight line between logarithms.
    pixels = np.log([point["pixels"] for point in points])
    times = np.log([point["median_ms"] for point in points])
    slope, _ = np.polyfit(pixels, times, 1)
    return float(slope)


def streams(
    config: ModelConfig,
    batches: Sequence[int],
    width: int,
    height: int,
    rounds: int,
    params: Prepared | None = None,
) -> Points:
    """Returns frames/s of all streams together by batch size, and live streams in it.

    In every round one stream leaves and another joins. ``compiled_again`` counts the
    programs that this made, over all batch sizes: it must be 0.
    """
    params = prepared_params(config) if params is None else params
    run = compile_step(config)
    calls = {str(b): driver(config, params, b, width, height, run=run) for b in batches}
    for call in calls.values():
        call()
    # JAX counts the programs of a function, but only for itself.
    programs = run._cache_size()  # type: ignore[attr-defined]
    times = clock.in_turns(calls, rounds)
    after = run._cache_size()  # type: ignore[attr-defined]
    points = []
    for batch in batches:
        median = times[str(batch)].median
        rate = batch / median
        point = {
            "batch": batch,
            "lr": [width, height],
            "median_ms": 1e3 * median,
            "frames_per_s": rate,
            "streams_at_25_fps": int(rate / clock.LIVE_RATE),
            "compiled_again": after - programs,
        }
        points.append(point)
    return points


def driver(
    config: ModelConfig,
    params: Prepared,
    batch: int,
    width: int,
    height: int,
    *,
    run: Step | None = None,
) -> Callable[[], None]:
    """Returns a call that takes one frame of every stream.

    With several streams, one of them starts anew each time. ``run`` is shared by the
    drivers of one config.
    """
    run = run or compile_step(config)
    frame = noise_frame(width, height, batch)
    state = init_state(config, batch, height, width)
    turn = 0

    def advance() -> None:
        nonlocal state, turn
        # A single stream would never have a history.
        if batch > 1:
            newcomer = jnp.arange(batch) == turn % batch
            state = reset(state, newcomer)
        state, sr = run(params, state, frame)
        jax.block_until_ready(sr)
        turn += 1

    return advance
