"""A sheet for every clip of a folder: bicubic beside each model, to be looked at.

python docs/contact_sheets.py CLIPS SHEETS [MODEL ...] [--condition h264:28]

CLIPS holds videos and folders of pictures. Each gives SHEETS/NAME.png of three rows:
a window pixel by pixel, its middle enlarged three times, and one line of pixels over
time (x-t: a steady picture shows straight edges, flicker shows combs). Models are as
`--model` takes them, `nano` without any. With --condition the clips are originals,
which are reduced by four and damaged first, as `evaluate --degrade` does.
"""

import argparse
import itertools
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from infer.evaluation.conditions import degrade, parse_condition
from sdvsr_jax import Upscaler

SIDE_BY_SIDE = Path(__file__).parents[1] / "examples" / "side_by_side.py"
drawing = runpy.run_path(str(SIDE_BY_SIDE))
WINDOW = (96, 160)
"""Height and width of the part of a LR frame that is shown: three panels of its 4x fit
on a screen.
"""

FRAMES = 24
"""Enough for a history and for an x-t slice that is higher than a line of text."""

SHOWN = 15
ENLARGEMENT = 3
LINE_HEIGHT = 4


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """Yields frames of a video or a folder of pictures, [h, w, 3] uint8 RGB."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield np.asarray(Image.open(file).convert("RGB"))
        return
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def first_frames(path: Path, condition: str) -> np.ndarray:
    """Returns the first LR frames of a clip, [t, h, w, 3] uint8."""
    frames = np.stack(list(itertools.islice(frames_of(path), FRAMES)))
    if not condition:
        return frames
    height = frames.shape[1] // 4 * 4
    width = frames.shape[2] // 4 * 4
    return degrade(frames[:, :height, :width], parse_condition(condition), 4).lr


def liveliest_window(frames: np.ndarray) -> np.ndarray:
    """Returns the part of the frames whose first frame has the strongest edges."""
    height, width = WINDOW
    grey = frames[0].mean(-1)
    edges = np.abs(np.diff(grey, axis=1))
    best = (0, 0)
    strongest = -1.0
    for top in range(0, max(frames.shape[1] - height, 0) + 1, 16):
        for left in range(0, max(frames.shape[2] - width, 0) + 1, 16):
            strength = float(edges[top : top + height, left : left + width].sum())
            if strength > strongest:
                strongest = strength
                best = (top, left)
    top, left = best
    return frames[:, top : top + height, left : left + width]


def bicubic(frames: np.ndarray) -> np.ndarray:
    """Returns the frames four times larger by bicubic interpolation."""
    size = (frames.shape[2] * 4, frames.shape[1] * 4)
    large = []
    for frame in frames:
        image = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        large.append(np.asarray(image))
    return np.stack(large)


def enlarged_middle(frame: np.ndarray) -> Image.Image:
    """Returns the middle of a frame enlarged, of the size of the frame."""
    height, width = frame.shape[:2]
    top = (height - height // ENLARGEMENT) // 2
    left = (width - width // ENLARGEMENT) // 2
    middle = frame[
        top : top + height // ENLARGEMENT, left : left + width // ENLARGEMENT
    ]
    return Image.fromarray(middle).resize((width, height), Image.Resampling.NEAREST)


def line_over_time(frames: np.ndarray) -> Image.Image:
    """Returns the middle line of every frame below that of the frame before."""
    lines = frames[:, frames.shape[1] // 2]
    return Image.fromarray(np.repeat(lines, LINE_HEIGHT, axis=0))


def panel(frames: np.ndarray, name: str) -> Image.Image:
    """Returns the three rows of one model below its name."""
    frame = frames[min(SHOWN, len(frames) - 1)]
    rows = [Image.fromarray(frame), enlarged_middle(frame), line_over_time(frames)]
    height = sum(row.height for row in rows)
    column = Image.new("RGB", (frame.shape[1], height))
    edge = 0
    for row in rows:
        column.paste(row, (0, edge))
        edge += row.height
    return drawing["labelled"](column, name)


def sheet(path: Path, models: Sequence[str], condition: str) -> Image.Image:
    """Returns the sheet of one clip."""
    frames = liveliest_window(first_frames(path, condition))
    panels = [panel(bicubic(frames), f"{path.name} {condition} bicubic")]
    for model in models:
        with Upscaler(model) as upscaler:
            results = [upscaler.push(frame) for frame in frames]
        panels.append(panel(np.stack(results), Path(model).name))
    return drawing["strip"](panels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("sheets", type=Path)
    parser.add_argument("models", nargs="*", default=["nano"])
    parser.add_argument("--condition", default="")
    options = parser.parse_args()
    options.sheets.mkdir(parents=True, exist_ok=True)
    for path in sorted(options.clips.iterdir()):
        try:
            picture = sheet(path, options.models, options.condition)
        except (av.FFmpegError, ValueError, OSError) as error:
            print(f"{path.name}: {error}")
            continue
        picture.save(options.sheets / f"{path.stem}.png")


if __name__ == "__main__":
    main()
