"""Pictures to look at: zoomed strips, x-t slices and curves over the frames."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infer.evaluation.measure import METRICS
from infer.evaluation.report import Results, Rows

LABEL = 18
PAPER, INK = (255, 255, 255), (20, 20, 20)
COLOURS = (
    (130, 130, 130),
    (200, 60, 30),
    (30, 90, 190),
    (20, 140, 80),
    (150, 70, 170),
    (190, 140, 0),
    (0, 150, 160),
)


class Window(NamedTuple):
    """Pixels of the SR frame."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        return image[
            self.top : self.top + self.height, self.left : self.left + self.width
        ]


def richest_window(frame: np.ndarray, baseline: np.ndarray, side: int = 96) -> Window:
    """The square where the baseline lost most of the frame's detail; rich texture when
    they are the same clip.
    """
    reference = frame.astype(np.float32)
    lost = np.square(reference - baseline).sum(-1)
    if not lost.any():
        lost = np.square(np.diff(reference, axis=1, append=reference[:, -1:])).sum(-1)
    height, width = lost.shape
    side = min(side, height, width)
    sums = np.pad(lost.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = (
        sums[side:, side:]
        - sums[:-side, side:]
        - sums[side:, :-side]
        + sums[:-side, :-side]
    )
    top, left = np.unravel_index(np.argmax(boxes[::8, ::8]), boxes[::8, ::8].shape)
    return Window(int(left) * 8, int(top) * 8, side, side)


def columns_of(
    lr: np.ndarray, rows: dict[str, np.ndarray], hr: np.ndarray | None, scale: int
) -> dict[str, np.ndarray]:
    """Clips side by side: LR repeated to SR size first, the ground truth last."""
    columns = {"LR": lr.repeat(scale, 1).repeat(scale, 2), **rows}
    return columns if hr is None else columns | {"HR": hr}


def strip(
    shown: dict[str, np.ndarray], frames: list[int], zoom: int = 3, side: int = 96
) -> Image.Image:
    """One line per frame, one column per picture, each a zoomed window (pixels
    repeated).
    """
    last = list(shown.values())[-1] if "HR" in shown else shown["bicubic"]
    lines = []
    for frame in frames:
        window = richest_window(last[frame], shown["bicubic"][frame], side)
        cells = [
            _labelled(_zoom(window.cut(clip[frame]), zoom), name)
            for name, clip in shown.items()
        ]
        lines.append(np.concatenate(cells, axis=1))
    return Image.fromarray(np.concatenate(lines))


def time_slice(
    shown: dict[str, np.ndarray], zoom: int = 4, side: int = 240
) -> Image.Image:
    """Row of pixels over time (downwards), one block per picture: steady motion is
    smooth, flicker is ragged.
    """
    last = list(shown.values())[-1] if "HR" in shown else shown["bicubic"]
    window = richest_window(last[0], shown["bicubic"][0], side)
    row = window.top + window.height // 2
    blocks = []
    for name, clip in shown.items():
        block = clip[:, row, window.left : window.left + window.width]
        blocks.append(
            _labelled(_zoom(block, zoom), f"{name}: row {row} over {len(clip)} frames")
        )
    return Image.fromarray(np.concatenate(blocks))


def sheet(shown: dict[str, np.ndarray], frames: list[int]) -> Image.Image:
    """Whole frames, one line per frame: the contact sheet."""
    lines = [
        np.concatenate(
            [
                _labelled(clip[frame], f"{name}, frame {frame}")
                for name, clip in shown.items()
            ],
            axis=1,
        )
        for frame in frames
    ]
    return Image.fromarray(np.concatenate(lines))


def _zoom(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, 0).repeat(factor, 1)


def _labelled(image: np.ndarray, text: str) -> np.ndarray:
    canvas = Image.new("RGB", (image.shape[1], image.shape[0] + LABEL), PAPER)
    canvas.paste(Image.fromarray(image), (0, LABEL))
    ImageDraw.Draw(canvas).text((4, 3), text, fill=INK, font=ImageFont.load_default(11))
    return np.asarray(canvas)


def curves(results: Results, size: tuple[int, int] = (560, 220)) -> Image.Image:
    """Every metric over the frames: a panel per clip and metric, a colour per row."""
    lines = []
    for condition, clips in results.items():
        for clip, rows in clips.items():
            panels = _panels(f"{clip} {condition}".strip(), rows, size)
            if len(panels) % 2:
                panels.append(np.full_like(panels[-1], 255))
            for left, right in zip(panels[::2], panels[1::2]):
                lines.append(np.concatenate([left, right], axis=1))
    return Image.fromarray(np.concatenate(lines))


def _panels(label: str, rows: Rows, size: tuple[int, int]) -> list[np.ndarray]:
    panels = []
    for name in rows["bicubic"]:
        columns = {row: values[name] for row, values in rows.items() if name in values}
        title = f"{label}: {METRICS[name].heading}"
        panels.append(_panel(title, columns, size))
    return panels


def _panel(
    title: str, columns: dict[str, np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    image = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    left, top, right, bottom = 62, 36, size[0] - 12, size[1] - 20
    values = np.concatenate(list(columns.values()))
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    high = high if high > low else low + 1
    draw.rectangle((left, top, right, bottom), outline=(200, 200, 200))
    draw.text((left, 4), title, fill=INK, font=font)
    for value, y in ((high, top), (low, bottom)):
        draw.text((4, y - 6), f"{value:.4g}", fill=INK, font=font)
    draw.text(
        (right - 60, bottom + 4),
        f"frame {len(next(iter(columns.values()))) - 1}",
        fill=INK,
        font=font,
    )
    x = left
    for (name, column), colour in zip(columns.items(), COLOURS * 4):
        draw.text((x, 19), name, fill=colour, font=font)
        x += int(draw.textlength(name, font)) + 14
        xs = left + (right - left) * np.arange(len(column)) / max(len(column) - 1, 1)
        ys = bottom - (bottom - top) * (column - low) / (high - low)
        draw.line(
            [(a, b) for a, b in zip(xs, ys) if np.isfinite(b)], fill=colour, width=2
        )
    return np.asarray(image)
