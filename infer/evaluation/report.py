"""Results as a table on the terminal, as JSON and as CSV."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infer.console import printable
from infer.evaluation.measure import METRICS, PerFrame
from infer.evaluation.outputs import TABLE_HEAD, write_text
from infer.targets import REPORT_MARK

Rows = dict[str, PerFrame]
"""Row -> metric -> values per frame."""
Results = dict[str, dict[str, Rows]]
"""Condition -> clip -> rows; the only condition is "" where nothing was degraded."""
FILE_WIDTH = 180
BASE = ("input", "bicubic", "HR")
BICUBIC_IS_ZERO = ("colour", "phase", "phase_flat")
"""Metrics that are themselves a difference from bicubic."""
Means = dict[str, float]


def mean_of(values: PerFrame) -> Means:
    """Mean over the frames where a metric is defined."""
    means = {}
    for name, column in values.items():
        defined = column[~np.isnan(column)]
        if len(defined):
            means[name] = float(defined.mean())
    return means


def first_of(values: PerFrame) -> Means:
    """Frame 0 alone: it has no history, so it is judged apart."""
    numbers = {}
    for name, column in values.items():
        number = float(column[0])
        if not math.isnan(number):
            numbers[name] = number
    return numbers


def mean_of_clips(clips: dict[str, Rows]) -> dict[str, Means]:
    """Row -> mean over clips of the clip means, every clip weighing the same."""
    means: dict[str, Means] = {}
    for row in next(iter(clips.values())):
        per_clip = [mean_of(rows[row]) for rows in clips.values()]
        common = set.intersection(*map(set, per_clip))
        means[row] = {
            name: float(np.mean([mean[name] for mean in per_clip]))
            for name in METRICS
            if name in common
        }
    return means


def print_table(results: Results, protocol: dict[str, Any]) -> None:
    """Every clip of every condition, then the mean over clips.

    Under each model stands its difference from bicubic.
    """
    console = Console()
    if not console.is_terminal:
        # a file has no width, and a table folded to 80 columns cannot be read
        console = Console(width=FILE_WIDTH)
    columns = _columns_in_use(results)
    table = Table(title="evaluation")
    table.add_column("" if "" in results else "condition")
    table.add_column("clip")
    table.add_column("row")
    for name in columns:
        metric = METRICS[name]
        arrow = "↑" if metric.higher_is_better else "↓"
        heading = f"{metric.heading} {arrow}"
        table.add_column(heading, justify="right")
    for condition, clips in results.items():
        for clip, rows in clips.items():
            means = {row: mean_of(values) for row, values in rows.items()}
            _add_rows(table, (condition, clip), means, columns)
            if not condition:
                _add_first_frames(table, rows, columns)
            table.add_section()
        if len(clips) > 1:
            _add_rows(table, (condition, "mean"), mean_of_clips(clips), columns)
            table.add_section()
    console.print(table)
    for name, text in protocol.items():
        line = f"[dim]{name}: {text}"
        console.print(line, highlight=False)


def _columns_in_use(results: Results) -> list[str]:
    names: set[str] = set()
    for clips in results.values():
        for rows in clips.values():
            names.update(*rows.values())
    return [name for name in METRICS if name in names]


def _add_first_frames(table: Table, rows: Rows, columns: list[str]) -> None:
    for row, values in rows.items():
        if row not in BASE and "lpips" in values:
            numbers = first_of(values)
            cells = _cells(numbers, columns)
            name = _plain(f"{row}: frame 0")
            table.add_row("", "", name, *cells, style="dim")


def _add_rows(
    table: Table, labels: tuple[str, str], means: dict[str, Means], columns: list[str]
) -> None:
    for index, (row, mean) in enumerate(means.items()):
        left = labels if index == 0 else ("", "")
        names = [_plain(name) for name in (*left, row)]
        cells = _cells(mean, columns)
        table.add_row(*names, *cells)
    base = means["bicubic"]
    for row, mean in means.items():
        if row in BASE:
            continue
        cells = []
        for name in columns:
            cell = _difference(name, mean.get(name), base.get(name))
            cells.append(cell)
        label = _plain(f"{row} - bicubic")
        table.add_row("", "", label, *cells, style="cyan")


def _plain(name: str) -> Text:
    """The name of a file or model as it is: rich would obey brackets in it."""
    return Text(printable(name))


def _cells(means: Means, columns: list[str]) -> list[str]:
    cells = []
    for name in columns:
        cell = "-"
        if name in means:
            decimals = METRICS[name].decimals
            cell = f"{means[name]:.{decimals}f}"
        cells.append(cell)
    return cells


def _difference(name: str, value: float | None, base: float | None) -> str:
    """How far a value is from bicubic's: dB and SSIM as they are, distances in %."""
    if value is None or base is None or name in BICUBIC_IS_ZERO:
        return "-"
    if not (math.isfinite(value) and math.isfinite(base)):
        return "-"
    metric = METRICS[name]
    if metric.higher_is_better:
        return f"{value - base:+.{metric.decimals}f}"
    if base == 0:
        return "-"
    percent = 100 * (value / base - 1)
    return f"{percent:+.1f}%"


def write_json(
    path: Path, results: Results, protocol: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Protocol, means, frame 0 and every frame; values that are not finite become null.

    With conditions, "mean" and "clips" hold one entry per condition.
    """
    means: Any = {name: mean_of_clips(clips) for name, clips in results.items()}
    clips: Any = {name: _describe_clips(clips) for name, clips in results.items()}
    if "" in results:
        means = means[""]
        clips = clips[""]
    document = {
        "written_by": REPORT_MARK,
        "protocol": protocol,
        "mean": means,
        "clips": clips,
        **extra,
    }
    text = json.dumps(_finite(document), indent=1)
    write_text(path, text + "\n")


def _describe_clips(clips: dict[str, Rows]) -> dict[str, Any]:
    return {
        clip: {row: _describe_row(values) for row, values in rows.items()}
        for clip, rows in clips.items()
    }


def _describe_row(values: PerFrame) -> dict[str, Any]:
    return {"mean": mean_of(values), "frame_0": first_of(values), "frames": values}


def _finite(value: Any) -> Any:
    """Returns a copy in which numbers that JSON cannot hold are None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | np.ndarray):
        return [_finite(item) for item in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    # six digits: more would only be the noise of float32 sums
    return round(float(value), 6)


def write_csv(path: Path, results: Results) -> None:
    """One line per condition, clip, row and frame."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*TABLE_HEAD, *METRICS])
    for condition, clips in results.items():
        for clip, rows in clips.items():
            for row, values in rows.items():
                for frame, cells in enumerate(_csv_cells(values)):
                    writer.writerow([condition, clip, row, frame, *cells])
    write_text(path, text.getvalue())


def _csv_cells(values: PerFrame) -> list[list[str]]:
    """One list of cells per frame, empty where a metric is not defined."""
    num_frames = len(next(iter(values.values())))
    absent = np.full(num_frames, math.nan)
    columns = [values.get(name, absent) for name in METRICS]
    frames = zip(*columns)
    return [[_csv_cell(value) for value in frame] for frame in frames]


def _csv_cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
