"""Pictures as files: the order of a folder, orientation, and writing PNG."""

import os
import re
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame

from infer.colours import apply_filters
from infer.sources.pictures import display_matrix

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".tga",
    ".ppm",
    ".pgm",
    ".pnm",
    ".jp2",
    ".j2k",
    ".avif",
    ".heic",
    ".heif",
)
TURNS = {
    (1, 0, 0, 1): [],
    (-1, 0, 0, 1): [("hflip", "")],
    (-1, 0, 0, -1): [("hflip", ""), ("vflip", "")],
    (1, 0, 0, -1): [("vflip", "")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, 1, -1, 0): [("transpose", "clock")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
    (0, -1, 1, 0): [("transpose", "cclock")],
}
"""Signs of a display matrix (a, b, c, d: x' = ax + cy, y' = bx + dy) and the filters
that do what it asks for: the eight orientations of EXIF.
"""


def list_images(folder: str) -> list[str]:
    """Returns the images of a folder in counting order: frame2 before frame10.

    Hidden files are left out.
    """
    names = []
    for name in os.listdir(folder):
        if name.lower().endswith(SUFFIXES) and not name.startswith("."):
            names.append(name)
    names.sort(key=_counting_order)
    return [os.path.join(folder, name) for name in names]


def _counting_order(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def turn_upright(frame: VideoFrame) -> VideoFrame:
    """Returns the picture as a viewer shows it; samples move and do not change."""
    matrix = display_matrix(frame)
    if matrix is None:
        return frame
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    signs = tuple(int(np.sign(v)) for v in (a, b, c, d))
    filters = TURNS.get(signs)
    return apply_filters(frame, filters) if filters else frame


def encode_png(rgb: np.ndarray) -> bytes:
    """Returns uint8 or uint16 [h, w, 3] as the bytes of an 8 or 16 bit PNG file."""
    is_deep = rgb.dtype == np.uint16
    height, width, _ = rgb.shape
    encoder = av.CodecContext.create("png", "w")
    encoder.width = width
    encoder.height = height
    encoder.pix_fmt = "rgb48be" if is_deep else "rgb24"
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb48le" if is_deep else "rgb24")
    if is_deep:
        frame = frame.reformat(format="rgb48be")
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
