"""Everything that needs a GPU, in one command of at most ten minutes.

Every piece is a process of its own with a limit, the most important first; pieces for
which no time was left are named, and the results of a stopped piece are kept. A plain
Python with jax, flax, einops and numpy is enough; PyTorch, torchvision, diffusers and
the libraries of `python -m infer` are used if present.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import report

# Ten minutes, less the time to begin and to write.
BUDGET_SECONDS = 580


# 16 rows of nano fill the device.
BATCHES = (1, 4, 16)
# From 480x270 on the published model looks its correlation up on demand.
SWEEP = ("320x180", "480x270", "640x360", "1280x720")


class Piece(NamedTuple):
    """Words of `python -m benchmarks`, and the most and the least seconds for it."""

    name: str
    words: str
    limit: float
    least: float


def plan(options: argparse.Namespace) -> list[Piece]:
    """Returns the pieces the most important first."""
    precision = "--precision bfloat16"
    nano = f"--models nano --sizes {options.sizes[0]} {precision}"
    published = f"--models {options.published} --sizes {options.sizes[0]} {precision}"
    batches = " ".join(map(str, options.batches or BATCHES))
    sweep = " ".join(options.sweep or SWEEP)
    return [
        Piece(
            "nano",
            f"frame {nano} --batches {batches} --graphs --frames 50 --profile 3",
            limit=110,
            least=30,
        ),
        Piece(
            "published",
            f"frame {published} --graphs --frames 30 --profile 3",
            limit=150,
            least=60,
        ),
        Piece("media", "media --frames 48 --codecs libx264 h264_nvenc", 90, 30),
        Piece("nano_torch", f"against {nano} --torch graphs --frames 20", 120, 60),
        Piece(
            "sizes",
            f"sizes --models nano {options.published} {precision} --frames 6 "
            f"--sweep {sweep}",
            limit=200,
            least=60,
        ),
        # torch.compile makes every network twice: for the first frame, and for frames
        # with a history.
        Piece(
            "published_torch",
            f"against {published} --torch graphs --frames 8",
            300,
            200,
        ),
        Piece("startup", "startup", limit=90, least=40),
    ]


def run(options: argparse.Namespace) -> int:
    """Runs the pieces; returns 1 if the first one was not measured."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.budget
    merged: report.Results = {}
    missed: dict[str, str] = {}
    pieces = plan(options)
    for piece in pieces:
        if options.only and piece.name not in options.only:
            continue
        rest = end - time.monotonic()
        reason = "no time left"
        # One that cannot finish would only take the time of shorter ones behind it.
        if rest >= piece.least:
            limit = min(piece.limit, rest)
            reason = _run_piece(piece, limit, out)
        if reason:
            missed[piece.name] = reason
        _merge(merged, out / piece.name / "results.json")
        merged["not_measured"] = missed
        report.write_json(out / "results.json", merged)
    report.finish(out, merged)
    for name, reason in missed.items():
        print(f"not measured: {name}: {reason}")
    return int(pieces[0].name in missed)


def _run_piece(piece: Piece, limit: float, out: Path) -> str:
    """Returns why it failed, or ''."""
    print(f"--- {piece.name}, at most {limit:.0f} s", flush=True)
    command = [sys.executable, "-m", "benchmarks", *piece.words.split()]
    environment = os.environ | {
        # Both frameworks share the device, and the peak is to be what was needed.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str((out / "cache").resolve()),
    }
    folder = str(out / piece.name)
    try:
        process = subprocess.run(
            [*command, "--out", folder], env=environment, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    return f"exit status {process.returncode}" if process.returncode else ""


def _merge(merged: report.Results, path: Path) -> None:
    """Adds the results that a piece has written so far."""
    if not path.is_file():
        return
    for key, value in json.loads(path.read_text("utf-8")).items():
        if isinstance(value, list):
            merged[key] = merged.get(key, []) + value
        else:
            merged[key] = merged.get(key, {}) | value
