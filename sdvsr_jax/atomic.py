"""Files that appear complete or not at all."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

# Characters of a file's name that its temporary name repeats: file systems allow 255
# bytes, and a character may take four.
LONGEST_STEM = 100


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields the name of an empty file beside ``path``; at the end it becomes ``path``.

    The bytes are on the disk before the name is. If the block fails, ``path`` is as
    it was before and the temporary file is gone. Raises ValueError where ``path`` is
    there and is no regular file: nothing is written through a link or onto a device.
    """
    target = Path(path)
    require_regular(target)
    part = _new_file_beside(target)
    try:
        yield part
        sync(part)
        move_into_place(part, target)
    finally:
        part.unlink(missing_ok=True)


def move_into_place(part: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Gives a finished file or folder its name, in place of a regular file only."""
    target = Path(path)
    if not os.path.isdir(part):
        require_regular(target)
    os.replace(part, target)
    sync(target.absolute().parent)


def require_regular(path: Path) -> None:
    """Raises ValueError if something other than a regular file has this name."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        kind = kind_of(mode)
        raise ValueError(f"{path}: is {kind}, expected a regular file or a new name")


def kind_of(mode: int) -> str:
    """The kind of a file in words, by its mode."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFREG: "a regular file",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def sync(path: str | os.PathLike[str]) -> None:
    """Forces a file's bytes, or a folder's names, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_file_beside(target: Path) -> Path:
    # O_EXCL also refuses a link that somebody has put there.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    stem = target.name[:LONGEST_STEM].lstrip(".")
    part = target.with_name(f".{stem}.{secrets.token_hex(4)}.part")
    os.close(os.open(part, flags, 0o666))
    return part
