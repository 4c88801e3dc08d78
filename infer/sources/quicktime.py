"""The clean aperture of MP4 and QuickTime files, which FFmpeg's decoders do not apply
and PyAV does not show.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# Boxes within each other, down to the list of descriptions.
WAY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
# Bytes of the list before its first description.
LIST_HEAD = 8
# Bytes of a description of pictures before the boxes in it, its own head included.
DESCRIPTION = 86
# Where the width and the height stand in it.
SIZE_AT = 32
APERTURE = b"clap"
# Boxes beside each other that are looked at: forged files have millions.
MOST_BOXES = 1000
# Width, height and shift to the right and down from the middle, all as fractions.
NUMBERS = struct.Struct(">8i")


class Box(NamedTuple):
    """Name of a box, and the place of it and of its content in the file."""

    name: bytes
    start: int
    content: int
    end: int


def crop_of(path: str) -> dict[str, int]:
    """Returns the pixels that the first cropped track asks to hide, by side.

    Empty for files of other formats and for damaged ones.
    """
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        try:
            for descriptions in _follow(file, 0, end, WAY):
                first = descriptions.content + LIST_HEAD
                for description in _boxes(file, first, descriptions.end):
                    crop = _crop(file, description)
                    if crop:
                        return crop
        except (struct.error, ZeroDivisionError):
            pass
    return {}


def _follow(
    file: BinaryIO, start: int, end: int, way: tuple[bytes, ...]
) -> Iterator[Box]:
    """Returns all boxes at the end of a way of names."""
    name, *rest = way
    for box in _boxes(file, start, end):
        if box.name != name:
            continue
        if rest:
            yield from _follow(file, box.content, box.end, tuple(rest))
        else:
            yield box


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    place = start
    for _ in range(MOST_BOXES):
        if place + 8 > end:
            return
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:  # a long one
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        # 0: up to the end of what it is in.
        size = size or end - place
        if size < head:
            # A damaged one, which would never move on.
            return
        stop = min(end, place + size)
        yield Box(name, place, place + head, stop)
        place = stop


def _crop(file: BinaryIO, description: Box) -> dict[str, int]:
    file.seek(description.start + SIZE_AT)
    width, height = struct.unpack(">HH", file.read(4))
    inner = description.start + DESCRIPTION
    for box in _boxes(file, inner, description.end):
        if box.name != APERTURE:
            continue
        file.seek(box.content)
        numbers = NUMBERS.unpack(file.read(NUMBERS.size))
        numerators, divisors = numbers[::2], numbers[1::2]
        pairs = zip(numerators, divisors, strict=True)
        clean_width, clean_height, across, down = (n / d for n, d in pairs)
        extra_width = width - clean_width
        extra_height = height - clean_height
        left = round(extra_width / 2 + across)
        top = round(extra_height / 2 + down)
        right = round(extra_width) - left
        bottom = round(extra_height) - top
        sides = {"left": left, "top": top, "right": right, "bottom": bottom}
        # A clean aperture beyond the picture hides nothing.
        return {side: pixels for side, pixels in sides.items() if pixels > 0}
    return {}
