"""What each inexact shortcut gains and costs, all off by default: one table.

The gain is arithmetic and time of a steady frame, timed in turn with the exact form. The price is measured on
``--hr`` clips by the metrics of `python -m infer evaluate`, with the shipped model; the published weights are not
here, so its rows have no price.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.models import configure, parser, random_params
from benchmarks.report import table, write
from benchmarks.timing import alternate, machine, spread
from sdvsr_jax import checkpoint, compiled_step, init_state
from sdvsr_jax.config import ModelConfig, RAFTConfig
from sdvsr_jax.flops import frame_flops

METRICS = ("psnr_y", "lpips", "tlp", "warping", "lr_psnr")


def steps(config: ModelConfig, count: int) -> ModelConfig:
    return dataclasses.replace(config, diffusion=dataclasses.replace(config.diffusion, num_steps=count))


def flow(config: ModelConfig, **change: str) -> ModelConfig:
    return dataclasses.replace(config, flow=dataclasses.replace(config.flow, **change))


BARGAINS: dict[str, Callable[[ModelConfig], ModelConfig]] = {
    "exact": lambda config: config,
    "bfloat16": lambda config: dataclasses.replace(config, compute_dtype="bfloat16"),
    "2 steps": lambda config: steps(config, 2),
    "1 step": lambda config: steps(config, 1),
    "guidance of the first step for all": lambda config: dataclasses.replace(config, guide_once=True),
    "flow at LR size": lambda config: flow(config, resolution="lr"),
    "flow in bfloat16": lambda config: flow(config, dtype="bfloat16"),
}
"""Row -> the config that does it. The last two are RAFT's: nano's flow is at LR size as it is."""


def variants(config: ModelConfig) -> dict[str, ModelConfig]:
    """The rows that this model has."""
    names = [n for n in BARGAINS if not n.startswith("flow") or isinstance(config.flow, RAFTConfig)]
    return {name: BARGAINS[name](config) for name in names}


def gains(config: ModelConfig, width: int, height: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Arithmetic and time of every variant, and how many times faster than the exact one it is."""
    runs, found = {}, {}
    for name, variant in variants(config).items():
        params, state = random_params(variant), init_state(variant, 1, height, width)
        frame = jax.random.uniform(jax.random.key(1), (1, height, width, 3), minval=-1)
        run, carried = compiled_step(variant), [state]

        def one(run=run, params=params, carried=carried, frame=frame) -> jax.Array:
            carried[0], sr = run(params, carried[0], frame)
            return sr

        runs[name] = one
        found[name] = {"tflop": frame_flops(variant, width, height) / 1e12}
    alternate(runs, 1)
    times = {name: spread(seconds)["median_ms"] for name, seconds in alternate(runs, rounds).items()}
    return {
        name: row | {"median_ms": times[name], "faster": times["exact"] / times[name]}
        for name, row in found.items()
    }


def prices(model: str, clips: Sequence[Path], num_frames: int) -> dict[str, dict[str, float]]:
    """Mean of every metric over the clips for every variant, and of bicubic."""
    from infer.evaluation import measure
    from infer.evaluation.clips import with_hr
    from infer.evaluation.methods import bicubic, upscale

    config, params = checkpoint.load(model)
    judge, sums = measure.make_judge("squeeze", None, None), {}
    for path in clips:
        clip = with_hr(path, None, num_frames, config.scale)
        rows = {"bicubic": bicubic(clip.lr, config.scale)}
        rows |= {name: upscale(clip.lr, (variant, params)) for name, variant in variants(config).items()}
        for name, columns in measure.measure(clip, rows, config.scale, judge).items():
            if name in rows:
                means = [float(np.nanmean(columns[metric])) for metric in METRICS]
                sums.setdefault(name, []).append(means)
    return {name: dict(zip(METRICS, np.mean(values, 0).tolist())) for name, values in sums.items()}


def main(arguments: list[str]) -> None:
    """One table per model and size."""
    options = parser("bargains", __doc__)
    options.add_argument("--hr", type=Path, nargs="+", default=[], help="ground truth clips, for the price")
    options.add_argument("--hr-frames", type=int, default=0, help="of each clip; 0: all")
    chosen = options.parse_args(arguments)
    found = {}
    for name in chosen.models:
        price = prices(name, chosen.hr, chosen.hr_frames) if chosen.hr and name in checkpoint.shipped() else {}
        for width, height in chosen.sizes:
            rows = gains(configure(name), width, height, chosen.frames)
            both = {label: rows.get(label, {}) | price.get(label, {}) for label in [*price, *rows]}
            title = f"{name} {width}x{height}"
            found[title] = [{"bargain": label, **row} for label, row in both.items()]
            columns = {key: key for key in ("bargain", "tflop", "median_ms", "faster", *METRICS)}
            print(f"\n{title}, {machine()}\n\n{table(found[title], columns)}", flush=True)
    write(chosen.json, {"machine": machine(), "bargains": found})
