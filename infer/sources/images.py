"""Pictures as files: the order of a folder, orientation, and writing PNG."""

import os
import re
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from infer.colours import apply_filters
from infer.sources.info import PICTURES_LIKE_FILMS
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
# Signs of a display matrix (a, b, c, d: x' = ax + cy, y' = bx + dy) -> orientation as
# EXIF numbers it.
ORIENTATIONS: dict[tuple[int, ...], int] = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
# Filters that turn a picture of that orientation upright.
TURNS = {
    2: [("hflip", "")],
    3: [("hflip", ""), ("vflip", "")],
    4: [("vflip", "")],
    5: [("transpose", "cclock_flip")],
    6: [("transpose", "clock")],
    7: [("transpose", "clock_flip")],
    8: [("transpose", "cclock")],
}
UPRIGHT = 1
EXIF_ORIENTATION = 0x0112
# FFmpeg's names, without the order of bytes, by channels and depth.
PNG_FORMATS = {
    (3, False): "rgb24",
    (4, False): "rgba",
    (3, True): "rgb48",
    (4, True): "rgba64",
}
# Bytes of a PNG file up to the end of its first chunk.
IHDR_END = 33


def list_images(folder: str) -> list[str]:
    """Returns the images of a folder in counting order: frame2 before frame10.

    Hidden files are left out.
    """
    names = []
    for name in os.listdir(folder):
        is_image = name.lower().endswith(SUFFIXES)
        if is_image and not name.startswith("."):
            names.append(name)
    names.sort(key=_counting_order)
    return [os.path.join(folder, name) for name in names]


def _counting_order(name: str) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", name.lower())
    order: list[tuple[int, int | str]] = []
    for part in parts:
        # Not isdigit: int() takes no superscript two.
        is_number = part.isdecimal()
        order.append((0, int(part)) if is_number else (1, part))
    return order


def turn_upright(frame: VideoFrame) -> VideoFrame:
    """Returns the picture as a viewer shows it; samples move and do not change."""
    filters = TURNS.get(orientation_of(frame))
    return apply_filters(frame, filters) if filters else frame


def orientation_of(frame: VideoFrame) -> int:
    """Returns the orientation of a decoded picture, 1 to 8."""
    matrix = display_matrix(frame)
    if matrix is None:
        return UPRIGHT
    # The third column shifts the picture, which says nothing of its orientation.
    turn = matrix[0:2] + matrix[3:5]
    signs = tuple(int(np.sign(value)) for value in turn)
    return ORIENTATIONS.get(signs, UPRIGHT)


def orientations_in(files: Sequence[str]) -> set[int]:
    """Returns the orientations of pictures by their headers."""
    orientations = set()
    for path in files:
        try:
            with Image.open(path) as image:
                exif = image.getexif()
        except (OSError, ValueError, Image.DecompressionBombError):
            # Formats that Pillow does not know have no orientation.
            exif = {}
        orientations.add(exif.get(EXIF_ORIENTATION, UPRIGHT))
    return orientations


def have_alpha(files: Sequence[str]) -> bool:
    """Returns whether a picture has an alpha channel, by the headers."""
    for path in files:
        try:
            with Image.open(path) as image:
                # A palette, or one colour, may be transparent without a channel.
                if "A" in image.getbands() or "transparency" in image.info:
                    return True
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # A format that Pillow does not know.
    return False


def alpha_beside(container: InputContainer, path: str) -> VideoStream | None:
    """Returns the stream with the alpha channel of an AVIF or HEIC picture."""
    streams = container.streams.video
    is_like_film = path.lower().endswith(PICTURES_LIKE_FILMS)
    if not is_like_film or len(streams) != 2:
        return None
    picture, alpha = streams
    is_same_size = (picture.width, picture.height) == (alpha.width, alpha.height)
    return alpha if is_same_size else None


def encode_png(rgb: np.ndarray, orientation: int = UPRIGHT) -> bytes:
    """Returns uint8 or uint16 [h, w, 3 or 4] as the bytes of an 8 or 16 bit PNG file.

    An orientation other than upright is written for viewers to turn it.
    """
    is_deep = rgb.dtype == np.uint16
    height, width, channels = rgb.shape
    name = PNG_FORMATS[channels, is_deep]
    encoder = av.CodecContext.create("png", "w")
    encoder.width = width
    encoder.height = height
    encoder.pix_fmt = f"{name}be" if is_deep else name
    encoder.time_base = Fraction(1)
    if is_deep:
        # Numbers in PNG begin with their high byte, in memory with the low one.
        frame = av.VideoFrame.from_ndarray(rgb, format=f"{name}le")
        frame = frame.reformat(format=f"{name}be")
    else:
        frame = av.VideoFrame.from_ndarray(rgb, format=name)
    frame.pts = 0
    packets = encoder.encode(frame) + encoder.encode(None)
    data = b"".join(bytes(packet) for packet in packets)
    if orientation == UPRIGHT:
        return data
    # Before the pixels: a viewer finds it without reading them.
    head, rest = data[:IHDR_END], data[IHDR_END:]
    return head + _exif_chunk(orientation) + rest


def _exif_chunk(orientation: int) -> bytes:
    """A PNG chunk with an EXIF directory of one entry, a 16-bit number."""
    # A TIFF with the high bytes first, whose one directory begins at byte 8: its number
    # of entries, the entry, and four zeros for no other directory.
    entry = struct.pack(">HHIHH", EXIF_ORIENTATION, 3, 1, orientation, 0)
    directory = struct.pack(">H", 1) + entry + bytes(4)
    content = b"MM\0*\0\0\0\x08" + directory
    body = b"eXIf" + content
    length = struct.pack(">I", len(content))
    check = struct.pack(">I", zlib.crc32(body))
    return length + body + check
