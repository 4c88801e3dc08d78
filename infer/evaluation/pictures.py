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
        last_column = reference[:, -1:]
        steps = np.diff(reference, axis=1, append=last_column)
        detail = np.square(steps).sum(-1)
    side = min(side, *detail.shape)
    boxes = _box_sums(detail, side)[::WINDOW_STEP, ::WINDOW_STEP]
    richest = np.argmax(boxes)
    row, column = np.unravel_index(richest, boxes.shape)
    left = int(column) * WINDOW_STEP
    top = int(row) * WINDOW_STEP
    return Window(left, top, side, side)


def _box_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over all squares of `side` pixels, by their top left corner."""
    table = values.cumsum(0).cumsum(1)
    # a line of zeros at the top and left, for squares that begin at the edge
    before = (1, 0)
    sums = np.pad(table, (before, before))
    stripes = sums[side:] - sums[:-side]
    ends = stripes[:, side:]
    starts = stripes[:, :-side]
    return ends - starts


def columns_of(
    lr: np.ndarray, rows: dict[str, np.ndarray], hr: np.ndarray | None, scale: int
) -> Columns:
    """Clips side by side: LR repeated to SR size first, the ground truth last."""
    enlarged_lr = lr.repeat(scale, 1).repeat(scale, 2)
    columns = {"LR": enlarged_lr, **rows}
    if hr is not None:
        columns["HR"] = hr
    return columns


def strip(
    columns: Columns, frames: Sequence[int], zoom: int = 3, side: int = 96
) -> Image.Image:
    """One line per frame, one column per clip: zoomed windows of the richest part.

    Pixels are repeated, not interpolated.
    """
    baseline = columns["bicubic"]
    reference = columns.get("HR", baseline)
    lines = []
    for frame in frames:
        window = richest_window(reference[frame], baseline[frame], side)
        cells = []
        for name, clip in columns.items():
            part = window.cut(clip[frame])
            enlarged = _enlarge(part, zoom)
            cells.append(_label(enlarged, name))
        line = np.concatenate(cells, axis=1)
        lines.append(line)
    return Image.fromarray(np.concatenate(lines))


def time_slice(columns: Columns, zoom: int = 4, side: int = 240) -> Image.Image:
    """A row of pixels over time (downwards), one block per clip.

    Steady motion is smooth, flicker is ragged.
    """
    baseline = columns["bicubic"]
    reference = columns.get("HR", baseline)
    window = richest_window(reference[0], baseline[0], side)
    row = window.top + window.height // 2
    width = slice(window.left, window.left + window.width)
    blocks = []
    for name, clip in columns.items():
        num_frames = len(clip)
        text = f"{name}: row {row} over {num_frames} frames"
        enlarged = _enlarge(clip[:, row, width], zoom)
        blocks.append(_label(enlarged, text))
    return Image.fromarray(np.concatenate(blocks))


def sheet(columns: Columns, frames: Sequence[int]) -> Image.Image:
    """Whole frames at 1:1, one line per frame: the contact sheet."""
    lines = []
    for frame in frames:
        cells = []
        for name, clip in columns.items():
            text = f"{name}, frame {frame}"
            cells.append(_label(clip[frame], text))
        line = np.concatenate(cells, axis=1)
        lines.append(line)
    return Image.fromarray(np.concatenate(lines))


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, 0).repeat(factor, 1)


def _label(image: np.ndarray, text: str) -> np.ndarray:
    height, width = image.shape[:2]
    canvas = Image.new("RGB", (width, height + LABEL), PAPER)
    picture = Image.fromarray(image)
    canvas.paste(picture, (0, LABEL))
    font = ImageFont.load_default(11)
    pen = ImageDraw.Draw(canvas)
    pen.text((4, 3), text, fill=INK, font=font)
    return np.asarray(canvas)
