"""Results as Markdown and JSON."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdvsr_jax.atomic import atomic_write
from sdvsr_jax.config import PRESETS, ModelConfig

PRECISIONS = ("float32", "bfloat16", "float16")

Results = dict[str, Any]
"""'machine', 'peaks', 'rows', and the figures of other pieces by their names."""

# Key of a row -> heading and format, in the table's order. GFLOP are convolutions and
# products, exactly.
COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "what": ("what", str),
    "model": ("model", str),
    "lr": ("LR -> SR", lambda v: f"{v[0]}x{v[1]} -> {4 * v[0]}x{4 * v[1]}"),
    "batch": ("streams", str),
    "precision": ("precision", str),
    "compile_s": ("compile s", lambda v: f"{v:.1f}"),
    "first_frame_s": ("first ms", lambda v: f"{1e3 * v:.4g}"),
    "median_ms": ("median ms", lambda v: f"{v:.4g}"),
    "p95_ms": ("p95 ms", lambda v: f"{v:.4g}"),
    "frames_per_s": ("frames/s", lambda v: f"{v:.3g}"),
    "live_streams": ("at 25 fps", str),
    "gflop": ("GFLOP", lambda v: f"{v:.4g}"),
    "share_of_peak": ("of peak", lambda v: f"{100 * v:.0f} %"),
    "step_bytes": ("step MB", lambda v: f"{v / 1e6:.0f}"),
    "peak_device_bytes": ("peak device MB", lambda v: f"{v / 1e6:.0f}"),
    "peak_host_bytes": ("peak host MB", lambda v: f"{v / 1e6:.0f}"),
    "joules_per_frame": ("J/frame", lambda v: f"{v:.3g}"),
    "of_ours": ("of ours", lambda v: f"{v:.2f}"),
    "cpu_ms": ("CPU ms", lambda v: f"{v:.4g}"),
    "cpu_of_ours": ("of ours", lambda v: f"{v:.2f}"),
    "error": ("error", lambda v: f"{v:.1e}"),
    "note": ("note", str),
}


def table(rows: list[dict[str, Any]]) -> str:
    """Returns one Markdown table; columns that no row fills are left out."""
    keys = []
    for key in COLUMNS:
        values = [row.get(key) for row in rows]
        # A column of nothing would only push the others apart.
        if any(value is not None for value in values):
            keys.append(key)
    headings = [COLUMNS[key][0] for key in keys]
    lines = []
    for row in rows:
        cells = [_formatted(key, row.get(key)) for key in keys]
        lines.append(cells)
    return _markdown(headings, lines)


def _markdown(headings: list[str], rows: list[list[str]]) -> str:
    rule = "|" + "---|" * len(headings)
    lines = [_line(headings), rule, *map(_line, rows)]
    return "\n".join(lines)


def _formatted(key: str, value: Any) -> str:
    _, show = COLUMNS[key]
    return "" if value is None else show(value)


def plain_table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown of rows with keys of their own, numbers to four digits."""
    # A dict keeps the order in which keys came.
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = []
    for row in rows:
        cells = [_cell(row.get(key)) for key in keys]
        lines.append(cells)
    return _markdown(keys, lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def size_of(text: str) -> tuple[int, int]:
    """Returns (width, height) of '320x180'."""
    width, _, height = text.partition("x")
    # isdecimal, because int() takes signs, spaces and underscores as well.
    is_size = width.isdecimal() and height.isdecimal()
    if not is_size or int(width) == 0 or int(height) == 0:
        raise ValueError(
            f"size {text}: expected WIDTHxHEIGHT of the LR frame, such as 320x180"
        )
    return int(width), int(height)


def in_precision(config: ModelConfig, precision: str) -> ModelConfig:
    """Returns the config with activations of this type."""
    return dataclasses.replace(config, compute_dtype=precision)


def configs(options: argparse.Namespace) -> dict[str, ModelConfig]:
    """Returns every model in every precision that was asked for, by a name."""
    return {
        f"{model} {precision}": in_precision(PRESETS[model](), precision)
        for model in options.models
        for precision in options.precision
    }


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
    facts = _facts(results.get("machine", {}))
    peaks = results.get("peaks", {})
    rates = []
    for key, rate in peaks.items():
        rates.append(f"{key} {rate / 1e9:.4g} G/s")
    ceilings = ", ".join(rates) or "not measured"
    page = f"{text}\n\n{facts}; ceilings: {ceilings}\n"
    print(f"\n{page}")
    write_json(out / "results.json", results)
    path = out / "results.md"
    path.write_text(page, "utf-8")
    print(f"written to {out}")


def _facts(machine: dict[str, Any]) -> str:
    facts = []
    for name, value in machine.items():
        # A setting that is empty says nothing.
        if value not in ("", None):
            facts.append(f"{name} {value}")
    return ", ".join(facts)
