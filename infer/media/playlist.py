"""Files that name other files: a playlist from somewhere else must not read this machine's disk."""

import os
from typing import IO, Any

_HEADS = ((b"#EXTM3U", "hls"), (b"ffconcat", "concat"))
_SNIFFED = 64


def kind_of(path: str) -> str | None:
    """'hls' or 'concat' for a local playlist, by its content; None for everything else."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        head = file.read(_SNIFFED).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((kind for start, kind in _HEADS if head.startswith(start)), None)


def guard(path: str, trusted: bool = False) -> dict[str, Any]:
    """Arguments for `av.open` that keep a local playlist inside its own folder.

    Raises ValueError for a concat list that leaves it; an HLS playlist that does so fails when the file is asked for.
    """
    kind = None if trusted else kind_of(path)
    if kind == "concat":
        _check_concat(path)
    return {"io_open": _Gate(path)} if kind == "hls" else {}


class _Gate:
    """Opens what an HLS playlist asks for, if it lies in the playlist's folder."""

    def __init__(self, path: str) -> None:
        self._path, self._folder = path, _folder(path)

    def __call__(self, url: str, flags: int, options: dict[str, Any]) -> IO[bytes]:
        if not _is_inside(url.removeprefix("file:"), self._folder):
            raise PermissionError(refusal(self._path, url))
        return open(url.removeprefix("file:"), "rb")


def refusal(path: str, asked: str) -> str:
    """What a user is told."""
    return f"{path}: this playlist reads {asked}, outside its folder; --trust-playlist allows it"


def _check_concat(path: str) -> None:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            word, _, name = line.strip().partition(" ")
            if word != "file":
                continue
            name = name.strip().strip("'\"")
            full = os.path.join(os.path.dirname(os.path.abspath(path)), name)
            if "://" in name or not _is_inside(full, _folder(path)) or kind_of(full):
                raise ValueError(refusal(path, name))


def _folder(path: str) -> str:
    return os.path.dirname(os.path.realpath(path))


def _is_inside(path: str, folder: str) -> bool:
    real = os.path.realpath(path)
    return os.path.commonpath([real, folder]) == folder
