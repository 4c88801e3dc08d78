"""The files that a live muxer writes, opened here and not by FFmpeg.

FFmpeg's muxers let some failures pass in silence: HLS goes on when a segment could not
be written, and a failure at the end of a file is lost. A failure here is remembered.
"""

import os
import re
from pathlib import Path
from typing import IO

from infer.errors import NO_ROOM, JobError


class OutputFiles:
    """Opens files for a muxer; `failure` is the first error in any of them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.failure: JobError | None = None
        self._main: OutputFile | None = None

    def open_main(self) -> "OutputFile":
        """The output itself, where it is one file."""
        self._main = OutputFile(self._path, self)
        return self._main

    def close(self) -> None:
        """Closes the output and raises the first failure, if there was one."""
        if self._main is not None:
            self._main.close()
        self.require_success()

    def discard(self) -> None:
        """Closes the output, and removes it if nothing was written to it."""
        if self._main is None:
            return
        self._main.close()
        path = Path(self._path)
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()

    def open(self, url: str, flags: int, options: object) -> "OutputFile":
        """A file for writing, as PyAV's ``io_open`` asks for it."""
        if self.failure is not None:
            return OutputFile(os.devnull, self)
        return OutputFile(url.removeprefix("file:"), self)

    def require_success(self) -> None:
        """Raises the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure

    def fail(self, error: OSError) -> JobError:
        """Returns the failure in words, and remembers the first."""
        why = error.strerror or str(error)
        text = f"{self._path}: cannot be written ({why})"
        if error.errno in NO_ROOM:
            text = f"{self._path}: the disk is full; what is there is playable"
        self.failure = self.failure or JobError(text)
        return self.failure


class OutputFile:
    """A file for FFmpeg that reports its failures to `OutputFiles`."""

    def __init__(self, path: str, files: OutputFiles) -> None:
        self._files = files
        try:
            # Unbuffered, because FFmpeg buffers and a viewer may read along.
            self._file: IO[bytes] = open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise files.fail(error) from None

    def write(self, data: bytes) -> int:
        """Writes all of it; returns the number of bytes."""
        if self._files.failure is not None:
            # The first failure is on its way through FFmpeg, and PyAV would print a
            # second one as lost, with a traceback.
            return len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise self._files.fail(error) from None
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def close(self) -> None:
        """Some file systems tell only now that there is no room."""
        try:
            self._file.close()
        except OSError as error:
            self._files.fail(error)


def segments_of(playlist: str) -> list[Path]:
    """Files beside an HLS list whose names its muxer will give to segments."""
    playlist_path = Path(playlist)
    folder = playlist_path.parent
    stem = re.escape(playlist_path.stem)
    # `.tmp` while it is written: the muxer is told to rename finished segments.
    name = re.compile(stem + r"[0-9]+\.ts(\.tmp)?")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name))


def check_segments(playlist: str, overwrite: bool) -> None:
    """Raises ValueError if segments would replace files that are none of this list's.

    An earlier list of this name does not name all its segments any more: all numbers up
    to its last one are its own.
    """
    last = _last_segment(Path(playlist)) if overwrite else -1
    stem = Path(playlist).stem
    for path in segments_of(playlist):
        rest = path.name.removeprefix(stem)
        number = int(re.findall(r"[0-9]+", rest)[0])
        if path.is_symlink() or not path.is_file() or number > last:
            raise ValueError(
                f"{path}: is there already, and {playlist} would replace it: "
                "choose another --output"
            )


def _last_segment(playlist: Path) -> int:
    try:
        text = playlist.read_text("utf-8")
    except (OSError, ValueError):
        return -1
    if not text.startswith("#EXTM3U"):
        return -1
    stem = re.escape(playlist.stem)
    numbers = re.findall(stem + r"([0-9]+)\.ts", text)
    return max(map(int, numbers), default=-1)
