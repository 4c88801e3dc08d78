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
SWEEP = ("480x270", "640x360", "1280x720")


class Piece(NamedTuple):
    """Words of `python -m benchmarks`, and the most and the least seconds for it."""

    name: str
    words: str
    limit: float
    least: float
    tree: Path | None = None
    """Another checkout, whose command it is."""


def plan(options: argparse.Namespace) -> list[Piece]:
    """Returns the pieces, the most important first."""
    size, *_ = options.sizes
    in_16_bits = "--precision bfloat16"
    nano = f"--models nano --sizes {size} {in_16_bits}"
    published = f"--models {options.published} --sizes {size} {in_16_bits}"
    batches = " ".join(map(str, options.batches or BATCHES))
    sweep = " ".join(options.sweep or SWEEP)
    timed = "--graphs --profile 3"
    first = f"frame {nano} --batches {batches} {timed} --frames 50"
    frame = f"frame {published} {timed} --frames 30"
    pieces = [
        Piece("nano", first, 110, 30),
        Piece("published", frame, 150, 60),
    ]
    # Beside the program that it is compared with, while the device is as warm.
    for tree in options.trees:
        name = f"published_{tree.resolve().name}"
        pieces.append(Piece(name, frame, 100, 60, tree))
    # torch.compile makes every network twice: for the first frame, and for frames with
    # a history.
    torch = f"against {published} --torch graphs --frames 8"
    nano_torch = f"against {nano} --torch graphs --frames 20"
    models = f"--models nano {options.published}"
    sizes = f"sizes {models} {in_16_bits} --frames 6 --sweep {sweep}"
    return [
        *pieces,
        Piece("media", "media --frames 48 --codecs libx264 h264_nvenc", 90, 30),
        Piece("nano_torch", nano_torch, 120, 60),
        Piece("sizes", sizes, 200, 60),
        Piece("published_torch", torch, 300, 200),
        Piece("startup", "startup", 90, 40),
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
        figures = out / piece.name / "results.json"
        # An earlier run's would pass for this one's.
        figures.unlink(missing_ok=True)
        rest = end - time.monotonic()
        reason = "no time left"
        # One that cannot finish would only take the time of shorter ones behind it.
        if rest >= piece.least:
            limit = min(piece.limit, rest)
            reason = _run_piece(piece, limit, out.resolve())
        if reason:
            missed[piece.name] = reason
        _merge(merged, figures, piece)
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
        "JAX_COMPILATION_CACHE_DIR": str(out / "cache"),
    }
    try:
        process = subprocess.run(
            [*command, "--out", str(out / piece.name)],
            cwd=piece.tree,
            env=environment,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s"
    return f"exit status {process.returncode}" if process.returncode else ""


def _merge(merged: report.Results, path: Path, piece: Piece) -> None:
    """Adds the results that a piece has written so far, its rows with its name."""
    if not path.is_file():
        return
    text = path.read_text("utf-8")
    results = json.loads(text)
    rows = merged.get("rows", [])
    for row in results.pop("rows", []):
        rows.append({"piece": piece.name, **row})
    merged |= results
    # Not the last piece's alone, which the line above has put there.
    merged["rows"] = rows
