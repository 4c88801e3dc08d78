"""Curves of every metric over the frames, drawn by matplotlib where it is installed."""

import math
from typing import TYPE_CHECKING

from infer.evaluation.measure import METRICS
from infer.evaluation.report import Results, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (5.6, 2.4)
"""Inches."""
COLUMNS = 2


def check_installed() -> None:
    """Raises ValueError without matplotlib, before hours of work end without a plot."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError(
            "--plot draws with matplotlib: pip install matplotlib"
        ) from None


def draw_curves(results: Results) -> "Figure":
    """Returns a figure with a panel per condition, clip and metric, a line per row."""
    # the class and not pyplot, which would look for a screen
    from matplotlib.figure import Figure

    titles = []
    for condition, clips in results.items():
        for clip, rows in clips.items():
            label = f"{clip} {condition}".strip()
            titles += [(label, rows, name) for name in rows["bicubic"]]
    num_lines = math.ceil(len(titles) / COLUMNS)
    width, height = PANEL
    size = (width * COLUMNS, height * num_lines)
    figure = Figure(figsize=size, layout="constrained")
    for number, (label, rows, name) in enumerate(titles, 1):
        axes = figure.add_subplot(num_lines, COLUMNS, number)
        _draw_panel(axes, rows, name)
        heading = METRICS[name].heading
        axes.set_title(f"{label}: {heading}", fontsize="small")
    return figure


def _draw_panel(axes: "Axes", rows: Rows, name: str) -> None:
    for row, values in rows.items():
        if name in values:
            axes.plot(values[name], marker=".", label=row)
    axes.legend(fontsize="x-small")
