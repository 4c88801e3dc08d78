"""Pictures to look at: zoomed strips, x-t slices and contact sheets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABEL = 18
"""Rows of pixels for the text above a picture."""
PAPER = (255, 255, 255)
INK = (20, 20, 20)
WINDOW_STEP = 8
"""Pixels between the windows that are compared: a finer search finds the same one."""

Columns = dict[str, np.ndarray]
"""Name -> uint8 clip [f, H, W, 3], from left to right."""


class Window(NamedTuple):
    """Pixels of the SR frame."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The window's part of an image [H, W, 3]."""
        rows = slice(self.top, self.top + self.height)
        columns = slice(self.left, self.left + self.width)
        return image[rows, columns]


def richest_window(frame: np.ndarray, baseline: np.ndarray, side: int = 96) -> Window:
    """Returns the square where the baseline lost most of the frame's detail.

    That of the richest texture where they are the same clip.
    """
    reference = frame.astype(np.float32)
    detail = np.square(reference - baseline).sum(-1)
    if not detail.any():
        steps = np.diff(reference, axis=1, append=reference[:, -1:])
        detail = np.square(steps).sum(-1)
    side = min(side, *detail.shape)
    boxes = _box_sums(detail, side)[::WINDOW_STEP, ::WINDOW_STEP]
    row, column = np.unravel_index(np.argmax(boxes), boxes.shape)
    return Window(int(column) * WINDOW_STEP, int(row) * WINDOW_STEP, side, side)


def _box_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over all squares of `side` pixels, by their top left corner."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = sums[side:] - sums[:-side]
    return rows[:, side:] - rows[:, :-side]


def columns_of(
    lr: np.ndarray, rows: dict[str, np.ndarray], hr: np.ndarray | None, scale: int
) -> Columns:
    """Clips side by side: LR repeated to SR size first, the ground truth last."""
    columns = {"LR": lr.repeat(scale, 1).repeat(scale, 2), **rows}
    return columns if hr is None else columns | {"HR": hr}


def strip(
    columns: Columns, frames: Sequence[int], zoom: int = 3, side: int = 96
) -> Image.Image:
    """One line per frame, one column per clip: zoomed windows of the richest part.

    Pixels are repeated, not interpolated.
    """
    reference = columns.get("HR", columns["bicubic"])
    lines = []
    for frame in frames:
        window = richest_window(reference[frame], columns["bicubic"][frame], side)
        cells = []
        for name, clip in columns.items():
            part = window.cut(clip[frame])
            cells.append(_label(_enlarge(part, zoom), name))
        lines.append(np.concatenate(cells, axis=1))
    return Image.fromarray(np.concatenate(lines))


def time_slice(columns: Columns, zoom: int = 4, side: int = 240) -> Image.Image:
    """A row of pixels over time (downwards), one block per clip.

    Steady motion is smooth, flicker is ragged.
    """
    reference = columns.get("HR", columns["bicubic"])
    window = richest_window(reference[0], columns["bicubic"][0], side)
    row = window.top + window.height // 2
    blocks = []
    for name, clip in columns.items():
        block = clip[:, row, window.left : window.left + window.width]
        text = f"{name}: row {row} over {len(clip)} frames"
        blocks.append(_label(_enlarge(block, zoom), text))
    return Image.fromarray(np.concatenate(blocks))


def sheet(columns: Columns, frames: Sequence[int]) -> Image.Image:
    """Whole frames at 1:1, one line per frame: the contact sheet."""
    lines = []
    for frame in frames:
        cells = [
            _label(clip[frame], f"{name}, frame {frame}")
            for name, clip in columns.items()
        ]
        lines.append(np.concatenate(cells, axis=1))
    return Image.fromarray(np.concatenate(lines))


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, 0).repeat(factor, 1)


def _label(image: np.ndarray, text: str) -> np.ndarray:
    height, width = image.shape[:2]
    canvas = Image.new("RGB", (width, height + LABEL), PAPER)
    canvas.paste(Image.fromarray(image), (0, LABEL))
    font = ImageFont.load_default(11)
    ImageDraw.Draw(canvas).text((4, 3), text, fill=INK, font=font)
    return np.asarray(canvas)
