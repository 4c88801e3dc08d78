"""Results as Markdown and JSON."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import bare, plot

Value = Any

COLUMNS: dict[str, tuple[str, Callable[[Value], str]]] = {
    "what": ("what", str),
    "model": ("model", str),
    "lr": ("LR -> SR", lambda v: f"{v[0]}x{v[1]} -> {4 * v[0]}x{4 * v[1]}"),
    "batch": ("streams", str),
    "precision": ("precision", str),
    "compile_s": ("compile s", lambda v: f"{v:.1f}"),
    "compile_warm_s": ("warm cache s", lambda v: f"{v:.2f}"),
    "compile_exported_s": ("exported s", lambda v: f"{v:.2f}"),
    "first_frame_s": ("first ms", lambda v: f"{1e3 * v:.4g}"),
    "median_ms": ("median ms", lambda v: f"{v:.4g}"),
    "p95_ms": ("p95 ms", lambda v: f"{v:.4g}"),
    "frames_per_s": ("frames/s", lambda v: f"{v:.3g}"),
    "with_io_ms": ("with I/O ms", lambda v: f"{v:.4g}"),
    "gflop": ("GFLOP", lambda v: f"{v:.4g}"),
    "xla_gflop": ("XLA GFLOP", lambda v: f"{v:.4g}"),
    "share_of_peak": ("of peak", lambda v: f"{100 * v:.0f} %"),
    "step_bytes": ("step MB", lambda v: f"{v / 1e6:.0f}"),
    "peak_device_bytes": ("peak device MB", lambda v: f"{v / 1e6:.0f}"),
    "peak_host_bytes": ("peak host MB", lambda v: f"{v / 1e6:.0f}"),
    "joules_per_frame": ("J/frame", lambda v: f"{v:.3g}"),
    "error": ("error", lambda v: f"{v:.1e}"),
    "note": ("note", str),
}
"""Key of a row -> heading and format. GFLOP: convolutions and products, exact; XLA's
also counts the rest.
"""


def table(rows: list[dict[str, Any]]) -> str:
    """One Markdown table; columns that no row fills are left out."""
    used = {
        key: column
        for key, column in COLUMNS.items()
        if any(row.get(key) is not None for row in rows)
    }
    lines = [
        "| " + " | ".join(heading for heading, _ in used.values()) + " |",
        "|" + "---|" * len(used),
    ]
    for row in rows:
        cells = [
            show(row[key]) if row.get(key) is not None else ""
            for key, (_, show) in used.items()
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain_table(rows: list[dict[str, Any]]) -> str:
    """Markdown of rows with keys of their own, numbers to four digits."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += [
        "| " + " | ".join(_cell(row.get(key)) for key in keys) + " |" for row in rows
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_json(path: Path, results: dict[str, Any]) -> None:
    """Written beside its place and moved there, so that a killed run leaves the last
    complete one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    os.replace(part, path)


def size_of(text: str) -> tuple[int, int]:
    """'320x180' -> (320, 180)."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(
            f"size {text}: expected WIDTHxHEIGHT of the LR frame, such as 320x180"
        )
    return int(width), int(height)


def finish(out: Path, results: dict) -> None:
    """The one table, and the files."""
    text = table(results["rows"]) if results["rows"] else ""
    facts = ", ".join(
        f"{key} {value}"
        for key, value in results["machine"].items()
        if value not in ("", None)
    )
    peaks = ", ".join(
        f"{key} {value / 1e9:.4g} G/s" for key, value in results["peaks"].items()
    )
    print(f"\n{text}\n\n{facts}\nceilings: {peaks or 'not measured'}")
    (out / "results.md").write_text(f"{text}\n\n{facts}; ceilings: {peaks}\n", "utf-8")
    write_json(out / "results.json", results)
    if bare.missing("PIL"):
        print("no plot: Pillow is not installed")
    else:
        plot.draw(out / "results.png", results)
    print(f"written to {out}")
