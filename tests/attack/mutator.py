"""Damaged and forged media files: bits, cuts, boxes of the container, and splices of
two files, all from a seed.
"""

import random
import struct
from collections.abc import Callable, Sequence

Mutator = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
"""Values at which counters and signs turn over."""
HEADER = 1200
"""Bytes at the beginning that hold the header of a small file."""


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """The beginning."""
    return data[: rng.randrange(len(data))]


def flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Some bits turned over, anywhere or in the header."""
    changed = bytearray(data)
    limit = rng.choice((len(data), min(len(data), HEADER)))
    for _ in range(rng.choice((1, 4, 32))):
        changed[rng.randrange(limit)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A stretch of one byte or of noise."""
    place = rng.randrange(len(data))
    length = min(len(data) - place, rng.randrange(1, 300))
    noise = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:place] + noise + data[place + length :]


def drop(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Without a stretch."""
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.randrange(1, 300) :]


def double(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A stretch a second time."""
    place = rng.randrange(len(data))
    stretch = data[place : place + rng.randrange(1, 300)]
    return data[:place] + stretch + data[place:]


def number(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """An extreme value in place of a field of one to eight bytes in the header."""
    length = rng.choice((1, 2, 4, 8))
    place = rng.randrange(max(1, min(len(data), HEADER) - length))
    value = rng.choice(EXTREMES) & (256**length - 1)
    field = value.to_bytes(length, rng.choice(("big", "little")))
    return data[:place] + field + data[place + length :]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one file and the end of another."""
    other = rng.choice(others)
    head = data[: rng.randrange(len(data))]
    return head + other[rng.randrange(len(other)) :]


def append(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Two files after each other."""
    return data + rng.choice(others)


def box(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A box of an MP4 or AVI, or a chunk of a PNG, edited; other files are flipped."""
    boxes = find_boxes(data)
    if not boxes:
        return flip(data, rng, others)
    start, end = rng.choice(boxes)
    body = data[start:end]
    kind = rng.choice(("size", "name", "remove", "repeat", "swap", "empty"))
    if kind == "size":
        size = struct.pack(">I", rng.choice(EXTREMES))
        return data[:start] + size + data[start + 4 :]
    if kind == "name":
        return data[: start + 4] + b"free" + data[start + 8 :]
    if kind == "remove":
        return data[:start] + data[end:]
    if kind == "repeat":
        return data[:end] + body + data[end:]
    if kind == "empty":
        return data[: start + 8] + bytes(len(body) - 8) + data[end:]
    first, last = rng.choice(boxes)
    if first < end and start < last:  # one inside the other
        return data[:start] + data[first:last] + data[end:]
    (a, b), (c, d) = sorted([(start, end), (first, last)])
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def find_boxes(data: bytes) -> list[tuple[int, int]]:
    """Begin and end of everything that looks like a box: a length and four letters."""
    boxes = []
    for place in range(len(data) - 8):
        name = data[place + 4 : place + 8]
        if not name.isalnum():
            continue
        size = int.from_bytes(data[place : place + 4])
        if 8 <= size <= len(data) - place:
            boxes.append((place, place + size))
    return boxes


MUTATORS: tuple[Mutator, ...] = (
    cut,
    flip,
    overwrite,
    drop,
    double,
    number,
    splice,
    append,
    box,
    box,
)
"""Edits of boxes are drawn twice as often, because random bits seldom meet their
fields.
"""


def mutant(sources: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    """(name, bytes) of the mutant of that seed; up to three mutations."""
    rng = random.Random(seed)
    name = rng.choice(sorted(sources))
    others = [sources[other] for other in sorted(sources) if other != name]
    data = sources[name]
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutate = rng.choice(MUTATORS)
        data = mutate(data or b"\0", rng, others)
    return name, data
