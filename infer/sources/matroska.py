"""The crop of a Matroska file, which FFmpeg's decoders do not apply and PyAV does not
show.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# Numbers of EBML and Matroska elements (RFC 8794 and 9559), with their width in them.
HEAD = b"\x1a\x45\xdf\xa3"
SEGMENT, TRACKS, TRACK, VIDEO, CLUSTER = (
    0x18538067,
    0x1654AE6B,
    0xAE,
    0xE0,
    0x1F43B675,
)
SIDES = {0x54AA: "bottom", 0x54BB: "top", 0x54CC: "left", 0x54DD: "right"}
# Bytes of a number in a file that players take.
LONGEST = 8
# Bytes that are looked through for a crop.
MOST_TRACKS = 2**24


class Element(NamedTuple):
    """Number of an element, and the place of its content in the file."""

    number: int
    start: int
    end: int


def crop_of(path: str) -> dict[str, int]:
    """Returns the pixels that the first cropped track asks to hide, by side.

    Empty for files of other formats and for damaged ones.
    """
    with open(path, "rb") as file:
        if file.read(len(HEAD)) != HEAD:
            return {}
        size = file.seek(0, 2)
        try:
            return _first_crop(file, size)
        except (IndexError, ValueError):
            return {}


def _first_crop(file: BinaryIO, size: int) -> dict[str, int]:
    for segment in _elements(file, 0, size, SEGMENT):
        for tracks in _elements(file, segment.start, segment.end, TRACKS):
            end = min(tracks.end, tracks.start + MOST_TRACKS)
            for track in _elements(file, tracks.start, end, TRACK):
                for video in _elements(file, track.start, track.end, VIDEO):
                    crop = _crop(file, video)
                    if crop:
                        return crop
            return {}
    return {}


def _crop(file: BinaryIO, video: Element) -> dict[str, int]:
    crop = {}
    for element in _elements(file, video.start, video.end):
        side = SIDES.get(element.number)
        if side is None:
            continue
        file.seek(element.start)
        size = min(LONGEST, element.end - element.start)
        content = file.read(size)
        pixels = int.from_bytes(content, "big")
        if pixels:
            crop[side] = pixels
    return crop


def _elements(
    file: BinaryIO, start: int, end: int, number: int | None = None
) -> Iterator[Element]:
    """Returns the elements between two places, all or those of one number.

    Nothing is looked for behind the first cluster: there are the pictures.
    """
    place = start
    while place < end:
        file.seek(place)
        # The longest size behind the longest number.
        head = file.read(LONGEST + 4)
        width = _width(head[0])
        kind = int.from_bytes(head[:width], "big")
        size_width = _width(head[width])
        size = _value(head[width : width + size_width])
        content = place + width + size_width
        # All bits set: an element of a live recording whose size nobody knows.
        is_open = size == 2 ** (7 * size_width) - 1
        stop = end if is_open else min(end, content + size)
        if kind == CLUSTER:
            return
        if number is None or kind == number:
            yield Element(kind, content, stop)
        place = stop


def _width(first: int) -> int:
    """Bytes of a number, told by the zeros before its first set bit."""
    width = LONGEST + 1 - first.bit_length()
    if width > LONGEST:
        raise ValueError(f"no number begins with byte {first}")
    return width


def _value(data: bytes) -> int:
    """The number without the bit that says its width."""
    marker = 1 << (7 * len(data))
    return int.from_bytes(data, "big") & (marker - 1)
