"""How a frame goes through the model: whole, or in tiles.

The layout decides bytes of the output, so work folders and reports hold it as text.
"""

from dataclasses import dataclass

OVERLAP = 48
"""LR pixels that neighbouring tiles share (docs/limits.md has the measurement behind
it).
"""


@dataclass(frozen=True)
class Whole:
    """The frame at once."""

    def __str__(self) -> str:
        return "off"


@dataclass(frozen=True)
class OnDemand:
    """The frame at once; RAFT's correlation is looked up instead of stored."""

    def __str__(self) -> str:
        return "on_demand"


@dataclass(frozen=True)
class Tiles:
    """Overlapping tiles of ``width`` x ``height`` LR pixels, one after the other."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


Layout = Whole | OnDemand | Tiles


def parse_layout(text: str) -> Layout:
    """Returns the layout that ``str`` of it wrote; ValueError for any other text."""
    for layout in (Whole(), OnDemand()):
        if text == str(layout):
            return layout
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(f"layout {text!r}: expected off, on_demand or WIDTHxHEIGHT")
    return Tiles(int(width), int(height))
