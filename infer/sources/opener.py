"""Opens files of this machine for FFmpeg: a list, such as a playlist of HLS, reads what
lies in its own folder and nothing else.

The decision is made where FFmpeg asks for a file, and so holds for every way in which a
list can name one.
"""

import os
import stat
from pathlib import Path

import av
from av.container import InputContainer

CONCAT_HEAD = b"ffconcat version 1.0"
"""By this FFmpeg knows its lists of files to join."""
LIST_HEADS = (CONCAT_HEAD, b"#EXTM3U", b"\xef\xbb\xbf#EXTM3U")
HEAD = 64
PLAIN = (
    "mpegts,mpeg,mpegvideo,mov,matroska,avi,flv,asf,ogg,nut,mxf,dv,h264,hevc,av1,ivf,"
    "m4v,yuv4mpegpipe,wav,w64,mp3,aac,ac3,eac3,flac,dts,truehd,aiff,caf,concat"
)
"""Formats that open no other file, and lists of files to join, which FFmpeg keeps to
relative names when their option `safe` is on.
"""
BUFFER = 2**18
"""Bytes of one read: every read waits for Python's lock."""
_trusted: set[str] = set()


class Refusal(ValueError):
    """A file that may not be read."""


def trust(path: str) -> None:
    """Let the list at this path read whatever it names, from now on in this process."""
    _trusted.add(os.path.abspath(path))


def open_local(path: str) -> InputContainer:
    """Open a file for reading.

    Refusal if it is no regular file, or a list that reads outside its folder. The
    errors of PyAV pass.
    """
    absolute = os.path.abspath(path)  # "12:30.mp4" or "concat:a|b" would be addresses
    if absolute in _trusted:
        return _open_trusted(absolute)
    opener = Opener(absolute)
    is_concat = _head(absolute).startswith(CONCAT_HEAD)
    options = _for_concat(absolute) if is_concat else {"protocol_whitelist": "none"}
    try:
        return av.open(
            absolute,
            format="concat" if is_concat else None,
            options={"pattern_type": "none", **options},
            metadata_errors="replace",
            buffer_size=BUFFER,
            io_open=opener,
        )
    except (av.FFmpegError, PermissionError):
        # FFmpeg's own answer to a name or a format that it was not to open
        if _head(absolute).startswith(LIST_HEADS):
            raise _refusal(absolute, "what FFmpeg cannot open, or files") from None
        raise


def _open_trusted(path: str) -> InputContainer:
    if _head(path).startswith(CONCAT_HEAD):
        unsafe = {"safe": "0"}
        return av.open(path, format="concat", options=unsafe, metadata_errors="replace")
    return av.open(path, options={"pattern_type": "none"}, metadata_errors="replace")


class Opener:
    """Opens the file at ``path``, and those of its folder that FFmpeg then asks for."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = os.path.realpath(os.path.dirname(path))
        self._has_refused = False

    def __call__(self, url: str, flags: int, options: dict[str, str]) -> "LocalFile":
        """The file at ``url``; Refusal if it is not one that may be read."""
        if url == self._path:
            return LocalFile(url)
        if self._has_refused:
            # The error of the first refusal is on its way already, and PyAV would print
            # it as lost if another one came.
            return LocalFile(os.devnull, anything=True)
        # Names with a scheme are no paths, and so lie in no folder.
        is_path = os.path.isabs(url)
        if flags & WRITE or not is_path or not is_inside(url, self._folder):
            self._has_refused = True
            raise _refusal(self._path, url)
        return LocalFile(url)


WRITE = 2
"""FFmpeg's AVIO_FLAG_WRITE."""


class LocalFile:
    """A regular file as PyAV reads it; it closes itself when nobody holds it any more,
    because PyAV leaves the files of an opening that failed.

    anything: it may be a device.
    """

    def __init__(self, path: str, anything: bool = False) -> None:
        self._number = -1
        # A pipe that nobody writes to would hold up the opening for ever.
        self._number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        mode = os.fstat(self._number).st_mode
        if not anything and not stat.S_ISREG(mode):
            self.close()
            raise Refusal(f"{path}: is no regular file, expected one")

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        return os.read(self._number, size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; returns the new position."""
        return os.lseek(self._number, offset, whence)

    def tell(self) -> int:
        """The position."""
        return os.lseek(self._number, 0, os.SEEK_CUR)

    def close(self) -> None:
        """Close, once."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def __del__(self) -> None:
        self.close()


def is_inside(path: str, folder: str) -> bool:
    """Whether a path leads into a folder, a real path itself, links followed."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _head(path: str) -> bytes:
    """The first bytes, none if it cannot be read: the opening will tell."""
    try:
        return LocalFile(path).read(HEAD)
    except OSError:
        return b""


def _for_concat(path: str) -> dict[str, str]:
    """Options for a list of files to join, whose files FFmpeg opens without asking.

    Its names must be plain and relative, and no link in its folder may lead out of it.
    """
    folder = os.path.realpath(os.path.dirname(path))
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            link = os.path.join(place, name)
            if os.path.islink(link) and not is_inside(link, folder):
                raise _refusal(path, f"a folder with a link, {link}, that leads")
    return {"safe": "1", "protocol_whitelist": "file", "format_whitelist": PLAIN}


def _refusal(path: str, name: str) -> Refusal:
    return Refusal(
        f"{path}: this list reads {name}, outside its folder; "
        "--trust-playlist allows it"
    )
