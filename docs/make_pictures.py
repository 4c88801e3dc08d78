"""The README's strips, made anew: python docs/make_pictures.py CLIPS [NAME ...].

CLIPS is a folder with the clips by the names below (the first one lies in examples/,
the text is drawn here). `python -m infer` upscales each without loss,
examples/side_by_side.py shows it.
"""

import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infer.evaluation.conditions import degrade, parse_condition
from train.data.rendered import font_files

ROOT = Path(__file__).parents[1]
SIDE_BY_SIDE = ROOT / "examples" / "side_by_side.py"
FRAME = 9
"""Late enough for a history, early enough to be made in a minute."""


class Picture(NamedTuple):
    """A strip: clip, the part that is shown (x, y, width, height), and its origin."""

    clip: str
    box: str
    origin: str
    condition: str = ""
    """The clip is full size: it is reduced by 4 and then loses this much, as
    `evaluate --degrade` says it, and is shown at the end.
    """


PICTURES = {
    "nasa": Picture(
        "nasa_320x180.mp4",
        "0.3,0.17,0.2,0.4",
        "NASA video 13013, public domain",
    ),
    "film": Picture(
        "old_film_chaplin.mp4",
        "0.22,0.08,0.1,0.28",
        "Chaplin, public domain",
    ),
    "bottle": Picture(
        "surveillance_long_1189f.mp4",
        "0.42,0.27,0.1,0.3",
        "bottle-detection, Intel, CC-BY-4.0, cropped",
    ),
    "sintel": Picture(
        "sintel_bandage",
        "0.42,0.3,0.25,0.5",
        "Sintel, (c) Blender Foundation, CC-BY-3.0, cropped",
        condition="clean",
    ),
    "face": Picture(
        "rotate_and_reflect.mp4",
        "0.36,0.1,0.32,0.75",
        "Android's media library, Apache-2.0, reduced and cropped",
        condition="h264:23",
    ),
    "text": Picture("text", "0.02,0.15,0.5,0.55", "drawn", condition="h264:28"),
}


TEXT = """\
A low-resolution frame goes in,
a 4x sharper frame comes out,
at once, for as long as the
video lasts.  0123456789 (+-*/)"""


def draw_text(folder: Path) -> None:
    """Writes a page of text that rolls upwards by a pixel and a half a frame."""
    folder.mkdir()
    fonts = {path.stem: path for path in font_files()}
    bold = fonts["DejaVuSans-Bold"]
    font = ImageFont.truetype(str(bold), 44)
    for index in range(FRAME + 1):
        page = Image.new("RGB", (960, 400), (24, 32, 48))
        draw = ImageDraw.Draw(page)
        top = 80 - 1.5 * index
        draw.multiline_text((40, top), TEXT, fill="white", font=font)
        page.save(numbered(folder, index))


def numbered(folder: Path, index: int) -> Path:
    """Returns the file of a frame, by which the command puts them in order."""
    return folder / f"{index:04d}.png"


def lose(clip: Path, condition: str, target: Path) -> None:
    """Writes the first frames of a clip of a quarter of the size, damaged."""
    target.mkdir()
    read_frame = side_by_side("frame")
    pictures = [read_frame(str(clip), index) for index in range(FRAME + 1)]
    frames = np.stack(pictures)
    _, full_height, full_width, _ = frames.shape
    height = full_height // 4 * 4
    width = full_width // 4 * 4
    hr = frames[:, :height, :width]
    loss = parse_condition(condition)
    dirty = degrade(hr, loss, 4)
    for index, lr in enumerate(dirty.lr):
        picture = Image.fromarray(lr)
        picture.save(numbered(target, index))


def make(picture: Picture, clips: Path, target: Path) -> None:
    """Upscales the clip and writes the strip."""
    bundled = ROOT / "examples" / picture.clip
    clip = bundled if bundled.exists() else clips / picture.clip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if picture.clip == "text":
            clip = folder / "text"
            draw_text(clip)
        source = clip
        original = ""
        if picture.condition:
            source = folder / "reduced"
            original = str(clip)
            lose(clip, picture.condition, source)
        name_of_result = "x4" if source.is_dir() else "x4.mkv"
        result = folder / name_of_result
        upscale(source, result)
        paths = map(str, (source, result, target))
        draw_strip = side_by_side("main")
        draw_strip(*paths, str(FRAME), picture.box, original)


def side_by_side(name: str) -> Any:
    """Returns a function of the example, a script that no import finds."""
    functions = runpy.run_path(str(SIDE_BY_SIDE))
    return functions[name]


def upscale(source: Path, result: Path) -> None:
    """Upscales the first frames without loss."""
    words = [sys.executable, "-m", "infer"]
    words += ["--video", str(source)]
    words += ["--output", str(result)]
    words += ["--frames", str(FRAME + 1)]
    # A folder of pictures becomes one again, and PNG loses nothing.
    if not source.is_dir():
        words += ["--codec", "ffv1"]
    subprocess.run(words, cwd=ROOT, check=True)


def main(clips: str, *names: str) -> None:
    folder = ROOT / "docs" / "pictures"
    for name in names or PICTURES:
        target = folder / f"{name}.jpg"
        make(PICTURES[name], Path(clips), target)


if __name__ == "__main__":
    main(*sys.argv[1:])
