"""The plots of docs/speed.md, from docs/data/speed.json: python docs/make_plots.py.

Each entry of the file names its command, machine and baseline; new measurements replace
its numbers, and this script is run again.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

DOCS = Path(__file__).parent
OURS = "#1e5abe"
OTHERS = "#b9bec8"


def bars(axes: Axes, entry: dict[str, Any]) -> None:
    """Horizontal bars, the first on top, ours in colour."""
    names = list(entry["bars"])
    values = list(entry["bars"].values())
    # By name, because ours need not be the first.
    colours = []
    for name in names:
        is_ours = name.startswith("ours")
        colours.append(OURS if is_ours else OTHERS)
    container = axes.barh(names, values, color=colours, height=0.6)
    axes.bar_label(container, fmt="%.3g", padding=4)
    axes.invert_yaxis()
    # Room for the label of the longest.
    right = 1.12 * max(values)
    axes.set_xlim(0, right)
    axes.set_xlabel(entry["unit"])


def line(axes: Axes, entry: dict[str, Any]) -> None:
    """Both axes logarithmic: a law of power one is a line at 45 degrees."""
    sizes = list(entry["points"])
    seconds = list(entry["points"].values())
    pixels = []
    for size in sizes:
        width, height = map(int, size.split("x"))
        pixels.append(width * height)
    first_pixels, *_ = pixels
    first_seconds, *_ = seconds
    linear = [first_seconds * count / first_pixels for count in pixels]
    axes.loglog(pixels, linear, color=OTHERS, linestyle="--", label="linear")
    axes.loglog(pixels, seconds, color=OURS, marker="o", label="measured")
    axes.set_xticks(pixels, sizes, rotation=30)
    axes.minorticks_off()
    axes.set_xlabel("LR size")
    axes.set_ylabel(entry["unit"])
    axes.legend(frameon=False)


def draw(name: str, entry: dict[str, Any]) -> None:
    """Writes docs/pictures/NAME.svg."""
    is_line = "points" in entry
    # Inches; a bar takes a third of one.
    height = 3.2
    if not is_line:
        height = 1.2 + 0.35 * len(entry["bars"])
    figure, axes = plt.subplots(figsize=(7, height), layout="constrained")
    if is_line:
        line(axes, entry)
    else:
        bars(axes, entry)
    axes.set_title(entry["title"], loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    path = DOCS / "pictures" / f"{name}.svg"
    # Without a date two runs write the same bytes.
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(path)


def entries() -> dict[str, dict[str, Any]]:
    """Returns the measurements by the names of their plots."""
    text = (DOCS / "data" / "speed.json").read_text("utf-8")
    return json.loads(text)


def main() -> None:
    mpl.use("svg")
    # Names of shapes would otherwise be random.
    mpl.rcParams["svg.hashsalt"] = "speed"
    for name, entry in entries().items():
        draw(name, entry)


if __name__ == "__main__":
    main()
