"""What less work costs and brings: python -m benchmarks bargains. Every one is off by
default.

Quality is that of `python -m infer evaluate` on a clip with ground truth; times are
taken in turns.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report, sweeps
from benchmarks.startup import CLIP
from sdvsr_jax.config import FlowNetConfig, ModelConfig, stream_diffvsr
from sdvsr_jax.flops import frame_flops

SKIPPING = "skip similar frames"
QUALITY = ("psnr_y", "lpips", "tlp", "warping", "lr_psnr")


def variants(config: ModelConfig) -> dict[str, ModelConfig]:
    """Name -> config; the first is the model as it is."""

    def change(**fields: Any) -> ModelConfig:
        return dataclasses.replace(config, **fields)

    def steps(count: int) -> ModelConfig:
        return change(diffusion=dataclasses.replace(config.diffusion, num_steps=count))

    found = {
        "as it is": config,
        "2 steps": steps(2),
        "1 step": steps(1),
        "guidance once": change(guide_once=True),
        "no guidance": change(use_guidance=False),
        "no TPM": change(use_tpm=False),
        "bfloat16": change(compute_dtype="bfloat16"),
        "int8": change(quantized="int8"),
    }
    if isinstance(config.flow, FlowNetConfig):
        found["unrefined flow"] = change(
            flow=dataclasses.replace(config.flow, refinements=0)
        )
    return found


def measure(
    clip: Path, frames: int, width: int, height: int, rounds: int
) -> list[dict[str, Any]]:
    """One row per bargain on the shipped weights: metrics on ``clip``, milliseconds at
    LR width x height.
    """
    from infer.evaluation.clips import with_hr
    from infer.evaluation.measure import make_judge
    from infer.evaluation.measure import measure as judge_rows
    from infer.evaluation.methods import bicubic, upscale
    from infer.evaluation.report import mean_of
    from sdvsr_jax import prepare
    from sdvsr_jax.weights import load as checkpoint

    config, raw = checkpoint.load("nano")
    made = variants(config)
    judged = with_hr(clip, None, frames, config.scale)
    shown = {"bicubic": bicubic(judged.lr, config.scale)}
    shown |= {name: upscale(judged.lr, (c, raw)) for name, c in made.items()}
    sources = not_skipped(judged.lr)
    computed = sorted(set(sources))
    shown[SKIPPING] = upscale(judged.lr[computed], (config, raw))[
        [computed.index(i) for i in sources]
    ]
    quality = {
        n: mean_of(v)
        for n, v in judge_rows(
            judged, shown, config.scale, make_judge("squeeze", None, None)
        ).items()
    }
    drivers = {
        name: sweeps.driver(c, prepare(raw, c), 1, width, height)
        for name, c in made.items()
    }
    times = sweeps.clock.in_turns(drivers, rounds)
    rows = [{"bargain": "bicubic", **{k: quality["bicubic"].get(k) for k in QUALITY}}]
    for name, c in made.items():
        rows.append(
            {
                "bargain": name,
                "gflop": frame_flops(c, width, height) / 1e9,
                "median_ms": 1e3 * times[name].median,
                "time": times[name].median / times["as it is"].median,
                **{k: quality[name].get(k) for k in QUALITY},
            }
        )
    share = len(computed) / len(sources)
    whole = next(row for row in rows if row["bargain"] == "as it is")
    rows.append(
        {
            "bargain": SKIPPING,
            **{k: share * whole[k] for k in ("gflop", "median_ms", "time")},
            **{k: quality[SKIPPING].get(k) for k in QUALITY},
        }
    )
    return rows


def not_skipped(frames: np.ndarray) -> list[int]:
    """For every frame [f, h, w, 3] the one whose result is shown, under the live policy
    skip-similar.
    """
    from infer.frame import Frame
    from infer.sources.inbox import Similar

    similar, sources = Similar(), []
    for i, rgb in enumerate(frames):
        again = similar.matches(Frame(rgb, pts=i, duration=1))
        sources.append(sources[-1] if again else i)
    return sources


def published_arithmetic(width: int, height: int) -> list[dict[str, Any]]:
    """The published model's bargains: arithmetic only, since its weights are not in the
    package.
    """
    config = stream_diffvsr()
    lr_flow = dataclasses.replace(
        config, flow=dataclasses.replace(config.flow, resolution="lr")
    )
    chosen = {
        k: v for k, v in variants(config).items() if k not in ("bfloat16", "int8")
    } | {"flow at LR size": lr_flow}
    whole = frame_flops(config, width, height)
    return [
        {
            "bargain": f"stream_diffvsr, {name}",
            "gflop": (work := frame_flops(c, width, height)) / 1e9,
            "arithmetic": work / whole,
        }
        for name, c in chosen.items()
    ]


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks bargains", description=__doc__
    )
    parser.add_argument("--hr", type=Path, default=CLIP, help="clip with ground truth")
    parser.add_argument("--frames", type=int, default=12, help="of the clip")
    parser.add_argument(
        "--size", default="320x180", help="LR size of the times, WIDTHxHEIGHT"
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args(arguments)
    width, height = report.size_of(options.size)
    rows = measure(options.hr, options.frames, width, height, options.rounds)
    rows += published_arithmetic(width, height)
    print(report.plain_table(rows))
    report.write_json(
        options.out / "bargains.json", {"bargains": rows, "clip": options.hr.name}
    )
    return 0
