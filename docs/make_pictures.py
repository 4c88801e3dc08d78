"""The README's strips, made anew: python docs/make_pictures.py CLIPS [NAME ...].

CLIPS is a folder with the clips by the names below (the first one lies in examples/).
`python -m infer` upscales each without loss, examples/side_by_side.py shows it.
"""

import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

ROOT = Path(__file__).parents[1]
FRAME = 9
"""Late enough for a history, early enough to be made in a minute."""


class Picture(NamedTuple):
    """A strip: clip, the part that is shown (x, y, width, height), and its origin."""

    clip: str
    box: str
    origin: str
    is_original: bool = False
    """The clip is full size: it is reduced by 4 first, and shown at the end."""


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
        is_original=True,
    ),
}


def reduce(folder: Path, target: Path) -> None:
    """Writes a clip of a quarter of the size, by antialiased bicubic."""
    target.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        image = Image.open(path).convert("RGB")
        width = image.width // 4
        height = image.height // 4
        small = image.resize((width, height), Image.Resampling.BICUBIC)
        small.save(target / f"{number:04d}.png")


def make(picture: Picture, clips: Path, target: Path) -> None:
    """Upscales the clip and writes the strip."""
    bundled = ROOT / "examples" / picture.clip
    clip = bundled if bundled.exists() else clips / picture.clip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = clip
        if picture.is_original:
            source = folder / "reduced"
            reduce(clip, source)
        result = folder / ("x4" if source.is_dir() else "x4.mkv")
        upscale(source, result)
        script = ROOT / "examples" / "side_by_side.py"
        draw_strip = runpy.run_path(str(script))["main"]
        original = str(clip) if picture.is_original else ""
        paths = map(str, (source, result, target))
        draw_strip(*paths, str(FRAME), picture.box, original)


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
