"""Results as Markdown and JSON, and the words of the command that pieces share."""

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sdvsr_jax.atomic import atomic_write
from sdvsr_jax.config import PRESETS, ModelConfig

PRECISIONS = ("float32", "bfloat16", "float16")

Results = dict[str, Any]
"""'machine', 'peaks', 'rows', and the figures of other pieces by their names."""

# Key of a row -> heading and format, in the table's order. GFLOP are convolutions and
# products, exactly.
COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "piece": ("piece", str),
    "what": ("what", str),
    "model": ("model", str),
    "lr": ("LR -> SR", lambda v: f"{v[0]}x{v[1]} -> {4 * v[0]}x{4 * v[1]}"),
    "batch": ("streams", str),
    "precision": ("precision", str),
    "compile_s": ("compile s", lambda v: f"{v:.1f}"),
    "median_ms": ("median ms", lambda v: f"{v:.4g}"),
    "frames_per_s": ("frames/s", lambda v: f"{v:.3g}"),
    "gflop": ("GFLOP", lambda v: f"{v:.4g}"),
    "share_of_peak": ("of peak", lambda v: f"{100 * v:.0f} %"),
    "step_bytes": ("step MB", lambda v: f"{v / 1e6:.0f}"),
    "peak_device_bytes": ("peak device MB", lambda v: f"{v / 1e6:.0f}"),
    "joules_per_frame": ("J/frame", lambda v: f"{v:.3g}"),
    "of_ours": ("of ours", lambda v: f"{v:.2f}"),
    "cpu_ms": ("CPU ms", lambda v: f"{v:.4g}"),
    "cpu_of_ours": ("CPU of ours", lambda v: f"{v:.2f}"),
    "error": ("error", lambda v: f"{v:.1e}"),
    "note": ("note", str),
}
# In the file alone: long, or of interest only where they are wrong.
UNSEEN = ("operations", "finite")


class Size(NamedTuple):
    """Of an LR frame, in pixels."""

    width: int
    height: int


def size_of(text: str) -> Size:
    """Returns the size of '320x180'."""
    # Not int() alone, which takes signs, spaces and underscores as well.
    match = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", text)
    if match is None:
        raise ValueError(
            f"size {text}: expected WIDTHxHEIGHT of the LR frame, such as 320x180"
        )
    width, height = map(int, match.groups())
    return Size(width, height)


def in_precision(config: ModelConfig, precision: str) -> ModelConfig:
    """Returns the config with activations of this type."""
    return dataclasses.replace(config, compute_dtype=precision)


def cases(options: argparse.Namespace) -> Iterator[tuple[ModelConfig, Size]]:
    """Yields every model at every size in every precision that was asked for."""
    for model in options.models:
        config = PRESETS[model]()
        for size in options.sizes:
            lr = size_of(size)
            for precision in options.precision:
                yield in_precision(config, precision), lr


def one_line(error: Exception) -> str:
    """Returns the beginning of an error's text, for a cell of a table."""
    words = str(error).split()
    return " ".join(words)[:200]


def table(rows: list[dict[str, Any]]) -> str:
    """Returns one Markdown table: known columns first, then others as they come.

    Columns that no row fills are left out: they would only push the others apart.
    """
    keys = dict.fromkeys(COLUMNS)
    filled = set()
    for row in rows:
        keys |= dict.fromkeys(row)
        filled |= {key for key, value in row.items() if value is not None}
    shown = [key for key in keys if key in filled and key not in UNSEEN]
    headings = []
    for key in shown:
        heading, _ = COLUMNS.get(key, (key, str))
        headings.append(heading)
    rule = "---|" * len(shown)
    lines = [_line(headings), f"|{rule}"]
    for row in rows:
        cells = [_cell(key, row.get(key)) for key in shown]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    text = " | ".join(cells)
    return f"| {text} |"


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key in COLUMNS:
        _, write = COLUMNS[key]
        return write(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_json(path: Path, results: Results) -> None:
    """Replaces the file at once, so that a killed run leaves the last complete one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1)
    with atomic_write(path) as part:
        part.write_text(text + "\n", "utf-8")


def finish(out: Path, results: Results) -> None:
    """Prints the one table with the machine below, and writes both files."""
    rows = results.get("rows", [])
    text = table(rows) if rows else ""
    machine = results.get("machine", {})
    peaks = results.get("peaks", {})
    # A setting that is empty says nothing.
    facts = [f"{name} {value}" for name, value in machine.items() if value]
    for precision, rate in peaks.items():
        facts.append(f"products in {precision} {rate / 1e9:.4g} GFLOP/s")
    below = ", ".join(facts)
    page = f"{text}\n\n{below}\n"
    print(f"\n{page}")
    write_json(out / "results.json", results)
    path = out / "results.md"
    path.write_text(page, "utf-8")
    print(f"written to {out}")
