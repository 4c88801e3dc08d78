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
LONGEST = 300
"""Bytes: no stretch is longer, so that a packet or two are hit and not the file."""


def cut(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """The beginning."""
    end = rng.randrange(len(data))
    return data[:end]


def flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Some bits turned over, anywhere or in the header."""
    changed = bytearray(data)
    header = min(len(data), HEADER)
    limit = rng.choice((len(data), header))
    num_bits = rng.choice((1, 4, 32))
    for _ in range(num_bits):
        # The place is drawn before the bit: a seed must go on giving its mutant.
        place = rng.randrange(limit)
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A stretch of one byte or of noise."""
    place = rng.randrange(len(data))
    room = len(data) - place
    length = min(room, rng.randrange(1, LONGEST))
    zeros = bytes(length)
    ones = b"\xff" * length
    noise = rng.randbytes(length)
    stretch = rng.choice((zeros, ones, noise))
    end = place + length
    return data[:place] + stretch + data[end:]


def drop(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Without a stretch."""
    place = rng.randrange(len(data))
    end = place + rng.randrange(1, LONGEST)
    return data[:place] + data[end:]


def double(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A stretch a second time."""
    place = rng.randrange(len(data))
    end = place + rng.randrange(1, LONGEST)
    stretch = data[place:end]
    return data[:place] + stretch + data[place:]


def number(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """An extreme value in place of a field of one to eight bytes in the header."""
    length = rng.choice((1, 2, 4, 8))
    last = min(len(data), HEADER) - length
    # a file may be shorter than the field
    place = rng.randrange(max(1, last))
    largest = 256**length - 1
    value = rng.choice(EXTREMES) & largest
    # containers disagree: Matroska and MP4 write big-endian, AVI little-endian
    order = rng.choice(("big", "little"))
    field = value.to_bytes(length, order)
    end = place + length
    return data[:place] + field + data[end:]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one file and the end of another."""
    other = rng.choice(others)
    end = rng.randrange(len(data))
    start = rng.randrange(len(other))
    return data[:end] + other[start:]


def append(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Two files after each other."""
    return data + rng.choice(others)


def box(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A box of an MP4 or AVI, or a chunk of a PNG, edited; other files are flipped."""
    boxes = find_boxes(data)
    if not boxes:
        return flip(data, rng, others)
    start, end = rng.choice(boxes)
    before = data[:start]
    after = data[end:]
    # four bytes of size, four letters, and the rest
    size = data[start : start + 4]
    name = data[start + 4 : start + 8]
    content = data[start + 8 : end]
    kind = rng.choice(("size", "name", "remove", "repeat", "swap", "empty"))
    if kind == "size":
        extreme = struct.pack(">I", rng.choice(EXTREMES))
        return before + extreme + name + content + after
    if kind == "name":
        # MP4's name for room that nobody uses
        return before + size + b"free" + content + after
    if kind == "remove":
        return before + after
    if kind == "repeat":
        return data[:end] + data[start:]
    if kind == "empty":
        zeros = bytes(len(content))
        return before + size + name + zeros + after
    other = rng.choice(boxes)
    return swap(data, (start, end), other)


Span = tuple[int, int]


def swap(data: bytes, one: Span, other: Span) -> bytes:
    """Two boxes in each other's place; of two that overlap, the other alone."""
    first, second = sorted([one, other])
    first_box = data[slice(*first)]
    second_box = data[slice(*second)]
    if second[0] < first[1]:  # one inside the other
        before = data[: one[0]]
        after = data[one[1] :]
        return before + data[slice(*other)] + after
    before = data[: first[0]]
    between = data[first[1] : second[0]]
    after = data[second[1] :]
    return before + second_box + between + first_box + after


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
    other_names = sorted(sources.keys() - {name})
    others = [sources[other] for other in other_names]
    data = sources[name]
    # one damage is the most usual, and the easiest to explain
    num_mutations = rng.choice((1, 1, 2, 3))
    for _ in range(num_mutations):
        mutate = rng.choice(MUTATORS)
        # nothing can be drawn from an empty file
        data = mutate(data or b"\0", rng, others)
    return name, data
