"""Text and flat graphics in motion, drawn: the content of screen recordings, titles and
cartoons, at no cost of data.

The fonts are DejaVu (free licence), from the system (Debian: fonts-dejavu-core) or from
matplotlib's package.
"""

import functools
import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.data.batch import Clip

FONT_FOLDERS = (
    "/usr/share/fonts/truetype/dejavu",
    "/usr/share/fonts/dejavu",
    "/usr/share/fonts/TTF",
)
LETTERS = string.ascii_letters + string.digits + ".,:;!?()[]{}<>=+-*/%&#@$"
AXES = ((1, 0), (-1, 0), (0, 1), (0, -1))
MARGIN = 48
"""Pixels drawn around the visible area, so that it can move."""


def clip(num_frames: int, side: int, rng: np.random.Generator) -> Clip:
    """uint8[f,side,side,3]: one or two drawn layers, each moving on its own with whole
    and part pixels.
    """
    size = side + 2 * MARGIN
    ground = _ground(size, rng)
    num_shapes = int(rng.integers(0, 12))
    _draw_shapes(ground, num_shapes, rng)
    _draw_text(ground, rng)
    first = _velocity(rng)
    has_overlay = rng.random() < 0.4
    # drawn in any case, so that the numbers behind it do not depend on that
    overlay = _overlay(size, rng)
    second = _velocity(rng)
    frames = []
    for index in range(num_frames):
        frame = _moved(ground, first * index, side)
        if has_overlay:
            layer = _moved(overlay, second * index, side)
            # the third argument is its transparency
            frame.paste(layer, (0, 0), layer)
        picture = frame.convert("RGB")
        frames.append(np.asarray(picture))
    return np.stack(frames)


@functools.cache
def font_files() -> tuple[Path, ...]:
    """DejaVu's files. FileNotFoundError says how to get them."""
    folders = [Path(folder) for folder in FONT_FOLDERS]
    try:
        import matplotlib

        data = Path(matplotlib.get_data_path())
        folders.append(data / "fonts" / "ttf")
    except ImportError:
        pass
    for folder in folders:
        # sorted, because a font is drawn by its number
        files = sorted(folder.glob("DejaVu*.ttf"))
        if files:
            return tuple(files)
    raise FileNotFoundError(
        "no DejaVu fonts: install fonts-dejavu-core, or matplotlib, which carries them"
    )


def _velocity(rng: np.random.Generator) -> np.ndarray:
    """Pixels per frame (x, y): still in a third of the cases, else a scroll along one
    axis, or any direction.
    """
    kind = rng.random()
    if kind < 0.35:
        return np.zeros(2)
    speed = rng.uniform(0.2, 3)
    if rng.random() < 0.5:
        # browsers and terminals scroll by whole pixels
        speed = float(round(speed) + 1)
    if kind < 0.8:
        number = rng.integers(len(AXES))
        x, y = AXES[number]
    else:
        angle = rng.uniform(0, 2 * np.pi)
        x = np.cos(angle)
        y = np.sin(angle)
    return speed * np.array([x, y], float)


def _moved(layer: Image.Image, offset: np.ndarray, side: int) -> Image.Image:
    # two pixels of the margin are the bicubic filter's
    limit = MARGIN - 2
    bounded = np.clip(offset, -limit, limit)
    x, y = MARGIN + bounded
    matrix = (1, 0, float(x), 0, 1, float(y))
    return layer.transform(
        (side, side),
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BICUBIC,
    )


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.4:
        any_grey = int(rng.integers(0, 256))
        # beside it the ends of the full and of the limited range
        value = int(rng.choice([0, 16, 32, 235, 255, any_grey]))
        return value, value, value
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


def _ground(size: int, rng: np.random.Generator) -> Image.Image:
    """One colour, or a linear gradient between two."""
    first = np.array(_colour(rng), float)
    second = np.array(_colour(rng), float)
    if rng.random() < 0.6:
        second = first
    shares = np.linspace(0, 1, size)
    ramp = shares[:, None, None]
    column = first + ramp * (second - first)
    picture = np.broadcast_to(column, (size, size, 3))
    if rng.random() < 0.5:
        picture = picture.swapaxes(0, 1)
    levels = np.rint(picture).astype(np.uint8)
    return Image.fromarray(levels).convert("RGB")


def _draw_shapes(image: Image.Image, count: int, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    size = image.width
    for _ in range(count):
        points = rng.integers(0, size, (2, 2))
        # Pillow wants the top left corner first
        corners = np.sort(points, axis=0)
        box = [int(v) for v in corners.ravel()]
        kind = rng.integers(4)
        colour = _colour(rng)
        if kind == 0:
            draw.rectangle(box, fill=colour)
        elif kind == 1:
            draw.ellipse(box, fill=colour)
        elif kind == 2:
            width = int(rng.integers(1, 8))
            draw.line(box, fill=colour, width=width)
        else:
            width = int(rng.integers(1, 5))
            draw.rounded_rectangle(box, radius=8, outline=colour, width=width)


def _draw_text(image: Image.Image, rng: np.random.Generator) -> None:
    """Lines of random words, as a page, a terminal or a title."""
    draw = ImageDraw.Draw(image)
    size = image.width
    height = int(rng.choice([14, 18, 22, 28, 36, 48, 72, 110]))
    file = _font_file(rng)
    font = ImageFont.truetype(file, height)
    colour = _colour(rng)
    y = int(rng.integers(0, 40))
    while y < size:
        if rng.random() < 0.85:
            x = int(rng.integers(0, 60))
            # letters are about half as wide as high
            length = 2 * size // height
            words = _words(rng, length)
            draw.text((x, y), words, font=font, fill=colour)
        spacing = rng.uniform(1.15, 1.8)
        y += int(height * spacing)
        if rng.random() < 0.1:
            colour = _colour(rng)


def _overlay(size: int, rng: np.random.Generator) -> Image.Image:
    """A transparent layer with a caption or a window."""
    layer = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    # in the upper left half of what can be seen, so that it is seen in part at least
    corner = rng.integers(MARGIN, size // 2, 2)
    top, left = map(int, corner)
    if rng.random() < 0.5:
        right = left + size // 3
        bottom = top + size // 4
        ground = (*_colour(rng), 255)
        draw.rectangle((left, top, right, bottom), fill=ground)
    file = _font_file(rng)
    height = int(rng.integers(16, 60))
    font = ImageFont.truetype(file, height)
    caption = _words(rng, 14)
    ink = (*_colour(rng), 255)
    # a little away from the edge of the window
    place = (left + 6, top + 6)
    draw.text(place, caption, font=font, fill=ink)
    return layer


def _font_file(rng: np.random.Generator) -> str:
    files = font_files()
    number = rng.integers(len(files))
    return str(files[number])


def _words(rng: np.random.Generator, length: int) -> str:
    # spaces enough that words are about as long as in a text
    alphabet = list(LETTERS + " " * 16)
    letters = rng.choice(alphabet, length)
    return "".join(letters)
