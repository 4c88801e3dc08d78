"""The numbers that need a GPU, in one command of at most eight minutes: python -m
benchmarks gpu --out DIR.

Every piece is a process of its own with a limit, the most important first; what there
was no time for is named. A plain Python with jax, flax, einops and numpy is enough;
PyTorch, torchvision and diffusers are used if present.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report


class Piece(NamedTuple):
    """Arguments of `python -m benchmarks`, the seconds it may take, and the least with
    which it is begun.
    """

    name: str
    arguments: str
    limit: float
    least: float


def plan(model: str, size: str, sweep: str) -> list[Piece]:
    """``model`` at ``size`` is what the targets are about; ``sweep``: options of the
    pieces over sizes.
    """
    full, nano = f"--models {model} --sizes {size}", f"--models nano --sizes {size}"
    return [
        Piece(
            "target",
            f"rows {full} --precision bfloat16 --frames 30 --no-compiles --graphs --profile 3",
            150,
            60,
        ),
        Piece(
            "nano",
            f"rows {nano} --precision bfloat16 float32 --frames 50 --no-compiles --graphs --profile 3",
            60,
            20,
        ),
        Piece(
            "eager",
            f"torch {full} --precision float32 --frames 8 --torch eager",
            200,
            120,
        ),
        # torch.compile makes every network twice: of the first frame, and of frames
        # with a history
        Piece("compiled", f"torch {full} --precision bfloat16 --frames 10", 400, 250),
        Piece(
            "graphs",
            f"torch {full} --precision bfloat16 --frames 10 --torch graphs",
            400,
            250,
        ),
        Piece(
            "eight",
            f"rows {full} --precision bfloat16 bfloat16+int8 bfloat16+float8 --frames 20 --no-compiles",
            240,
            150,
        ),
        Piece("options", f"options {full} --precision bfloat16 --frames 10", 330, 100),
        Piece(
            "arithmetic", f"arithmetic {full} --precision bfloat16 --frames 10", 150, 60
        ),
        Piece("written", f"written {full} --precision bfloat16 --frames 20", 120, 40),
        Piece("parts", f"parts {full} --precision bfloat16 --frames 10", 150, 60),
        Piece(
            "streams",
            f"streams sizes {nano} --precision bfloat16 --frames 20 --stream-size {size} {sweep}",
            150,
            60,
        ),
        Piece(
            "capacity",
            f"streams {full} --precision bfloat16 --frames 6 --stream-size {size}",
            240,
            150,
        ),
        Piece(
            "sizes", f"sizes {full} --precision bfloat16 --frames 6 {sweep}", 200, 120
        ),
    ]


def main(arguments: list[str]) -> int:
    """The command; 1 if the first piece failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks gpu", description=__doc__
    )
    parser.add_argument(
        "--budget", type=float, default=460, help="seconds for everything"
    )
    parser.add_argument("--model", default="stream_diffvsr")
    parser.add_argument("--size", default="320x180", help="LR size, WIDTHxHEIGHT")
    parser.add_argument("--sweep", nargs="+", help="LR sizes of the linear-cost sweep")
    parser.add_argument("--pieces", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks_gpu"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    ends, merged, missed = time.monotonic() + options.budget, {}, []
    for piece in plan(
        options.model,
        options.size,
        f"--sweep {' '.join(options.sweep)}" if options.sweep else "",
    ):
        if options.pieces and piece.name not in options.pieces:
            continue
        left = ends - time.monotonic()
        why = (
            "no time left"
            if left < piece.least
            else _run(piece, min(piece.limit, left), options.out)
        )
        if why:
            missed.append(f"{piece.name}: {why}")
        _merge(merged, options.out / piece.name / "results.json")
    merged["not_measured"] = missed
    report.finish(options.out, {"rows": [], "machine": {}, "peaks": {}} | merged)
    for line in missed:
        print(f"not measured: {line}")
    return 1 if any(line.startswith("target") for line in missed) else 0


def _run(piece: Piece, limit: float, out: Path) -> str:
    """Why it failed, or ''."""
    print(f"--- {piece.name}", flush=True)
    surroundings = os.environ | {
        # Both frameworks share the device, and the peak is to be what was needed.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str((out / "cache").resolve()),
    }
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        *piece.arguments.split(),
        "--out",
        str(out / piece.name),
    ]
    try:
        code = subprocess.run(command, env=surroundings, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    return f"exit status {code}" if code else ""


def _merge(merged: dict[str, Any], path: Path) -> None:
    """Add what a piece has written so far."""
    if not path.is_file():
        return
    for key, value in json.loads(path.read_text("utf-8")).items():
        if isinstance(value, list):
            merged[key] = merged.get(key, []) + value
        elif isinstance(value, dict):
            merged[key] = merged.get(key, {}) | value
        elif key == "seconds":
            merged[key] = merged.get(key, 0) + value
