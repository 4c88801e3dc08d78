"""Files that name other files: a playlist from somewhere else must not read this
machine's disk.
"""

import os
import re
from collections.abc import Iterator

_HEADS = ((b"#EXTM3U", "hls"), (b"ffconcat", "concat"))
_SNIFFED = 64
_LONGEST = 4_000_000
"""Bytes of a playlist; two weeks of segments need less."""


def kind_of(path: str) -> str | None:
    """'hls' or 'concat' for a local playlist, by its content; None for everything else."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        head = file.read(_SNIFFED).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for start, kind in _HEADS if head.startswith(start)), None)


def check_playlist(path: str, trusted: bool = False) -> None:
    """ValueError if this is a local playlist that, itself or by another one, reads
    anything outside its folder.
    """
    if trusted:
        return
    folder, waiting, seen = os.path.realpath(os.path.dirname(path)), [path], set[str]()
    while waiting:
        current = waiting.pop()
        if current in seen or (kind := kind_of(current)) is None:
            continue
        seen.add(current)
        for name in _named_in(current, kind):
            target = os.path.join(os.path.dirname(current), name)
            if (
                _has_scheme(name)
                or os.path.commonpath([os.path.realpath(target), folder]) != folder
            ):
                raise ValueError(
                    f"{path}: this playlist reads {name}, outside its folder; --trust-playlist allows it"
                )
            waiting.append(target)


def _has_scheme(name: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.,-]*:", name) is not None


def _named_in(path: str, kind: str) -> Iterator[str]:
    """Everything that FFmpeg would open while it reads this playlist."""
    if os.path.getsize(path) > _LONGEST:
        raise ValueError(f"{path}: a playlist of more than {_LONGEST // 1_000_000} MB")
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line in map(str.strip, file):
            if kind == "concat":
                word, _, name = line.partition(" ")
                if word == "file":
                    yield re.sub(r"['\"\\]", "", name.strip())
            elif line.startswith("#"):
                yield from re.findall(r'URI="([^"]*)"', line)
            elif line:
                yield line
