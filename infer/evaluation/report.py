"""Results as a table on the terminal, as JSON and as CSV."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from infer.evaluation.measure import METRICS, PerFrame

Results = dict[str, dict[str, PerFrame]]
"""Clip -> row -> metric -> values per frame."""
BASE = ("bicubic", "HR")
Means = dict[str, float]


def mean_of(values: PerFrame) -> Means:
    """Mean over the frames where a metric is defined."""
    defined = {name: column[~np.isnan(column)] for name, column in values.items()}
    return {
        name: float(column.mean()) for name, column in defined.items() if len(column)
    }


def first_of(values: PerFrame) -> Means:
    """Frame 0 alone: it has no history, so it is judged apart."""
    return {
        name: float(column[0])
        for name, column in values.items()
        if not math.isnan(column[0])
    }


def mean_of_clips(results: Results) -> dict[str, Means]:
    """Row -> mean over clips of the clip means, every clip weighing the same."""
    means: dict[str, Means] = {}
    for row in next(iter(results.values())):
        per_clip = [mean_of(rows[row]) for rows in results.values()]
        names = [name for name in METRICS if all(name in found for found in per_clip)]
        means[row] = {
            name: float(np.mean([found[name] for found in per_clip])) for name in names
        }
    return means


def print_table(results: Results, protocol: dict[str, Any]) -> None:
    """Every clip, then the mean over clips; under each model its difference from
    bicubic.
    """
    console = Console(width=None if Console().is_terminal else 160)
    used = {
        name for rows in results.values() for values in rows.values() for name in values
    }
    columns = [name for name in METRICS if name in used]
    table = Table(title="evaluation")
    table.add_column("clip")
    table.add_column("row")
    for name in columns:
        table.add_column(
            f"{METRICS[name].heading} {'↑' if METRICS[name].higher_is_better else '↓'}",
            justify="right",
        )
    for clip, rows in results.items():
        _add_rows(
            table, clip, {row: mean_of(values) for row, values in rows.items()}, columns
        )
        for row, values in rows.items():
            if row not in BASE and "lpips" in values:
                table.add_row(
                    "",
                    f"{row}: frame 0",
                    *_cells(first_of(values), columns),
                    style="dim",
                )
        table.add_section()
    if len(results) > 1:
        _add_rows(table, "mean", mean_of_clips(results), columns)
    console.print(table)
    for name, text in protocol.items():
        console.print(f"[dim]{name}: {text}", highlight=False)


def _add_rows(
    table: Table, clip: str, means: dict[str, Means], columns: list[str]
) -> None:
    for index, (row, found) in enumerate(means.items()):
        table.add_row(clip if not index else "", row, *_cells(found, columns))
    base = means["bicubic"]
    for row, found in means.items():
        if row not in BASE:
            cells = [
                _difference(name, found.get(name), base.get(name)) for name in columns
            ]
            table.add_row("", f"{row} - bicubic", *cells, style="cyan")


def _cells(found: Means, columns: list[str]) -> list[str]:
    return [
        f"{found[name]:.{METRICS[name].decimals}f}" if name in found else "-"
        for name in columns
    ]


def _difference(name: str, value: float | None, base: float | None) -> str:
    if value is None or base is None or name == "colour":
        return "-"
    if METRICS[name].higher_is_better:
        return f"{value - base:+.{METRICS[name].decimals}f}"
    return f"{100 * (value / base - 1):+.1f}%" if base else "-"


def write_json(
    path: Path, results: Results, protocol: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Protocol, means, frame 0 and every frame; values that are not finite become null."""
    clips = {
        clip: {
            row: {
                "mean": mean_of(values),
                "frame_0": first_of(values),
                "frames": values,
            }
            for row, values in rows.items()
        }
        for clip, rows in results.items()
    }
    document = {
        "protocol": protocol,
        "mean": mean_of_clips(results),
        "clips": clips,
        **extra,
    }
    path.write_text(json.dumps(_finite(document), indent=1) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value


def write_csv(path: Path, results: Results) -> None:
    """One line per clip, row and frame."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "row", "frame", *METRICS])
        for clip, rows in results.items():
            for row, values in rows.items():
                for frame in range(len(next(iter(values.values())))):
                    cells = [
                        values[name][frame] if name in values else math.nan
                        for name in METRICS
                    ]
                    writer.writerow(
                        [
                            clip,
                            row,
                            frame,
                            *("" if math.isnan(v) else f"{v:.6g}" for v in cells),
                        ]
                    )
