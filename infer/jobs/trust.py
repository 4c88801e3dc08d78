"""Whether a work folder is one that this program made, and its removal.

Whoever can write beside an output can put a folder of that name there, and an archive
can bring one: its records would decide the output's content, and its links the place.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from infer.errors import JobError
from sdvsr_jax.atomic import kind_of

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Names that this program gives to entries of a work folder.
OWN_NAMES = re.compile(
    r"lock|job\.json|published|frames|parts|[0-9]{6,}\.(json|mkv|npz)"
    r"|[a-z]+\.facts|.*\.unfinished|\..*\.part"
)
LAST = "published"


def check_trusted(folder: Path) -> None:
    """Raises JobError unless the folder, and all in it, can only be this user's work.

    FileNotFoundError if the folder disappears meanwhile.
    """
    status = folder.lstat()
    mode = status.st_mode
    if not stat.S_ISDIR(mode):
        raise _distrust(folder, f"is {kind_of(mode)}, expected a work folder")
    if not _is_of_user(status):
        raise _distrust(folder, "belongs to another user")
    if mode & OTHERS_MAY_WRITE:
        permissions = f"{stat.S_IMODE(mode):03o}"
        raise _distrust(folder, f"others can write there (mode {permissions})")
    for path in _entries(folder):
        if path.is_symlink():
            raise _distrust(path, "is a symbolic link, which no job makes")
    for path in folder.iterdir():
        if not OWN_NAMES.fullmatch(path.name):
            raise _distrust(path, "was not made by a job")


def is_own_file(path: Path) -> bool:
    """Whether a regular file is there that only this user can have written."""
    try:
        status = path.lstat()
    except OSError:
        return False
    is_closed = not status.st_mode & OTHERS_MAY_WRITE
    return stat.S_ISREG(status.st_mode) and _is_of_user(status) and is_closed


def _is_of_user(status: os.stat_result) -> bool:
    # Windows has no numbers of users.
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid()


def erase(folder: Path, keep: str = "") -> None:
    """Removes the files of jobs from a work folder, and the folder if it is then empty.

    keep: the name of an entry that stays.
    """
    with contextlib.suppress(OSError):
        # The mark of an output that is in place goes last: without it a removal that is
        # cut short would leave work that nobody can go on with.
        entries = sorted(folder.iterdir(), key=lambda path: path.name == LAST)
        for path in entries:
            if path.name != keep and OWN_NAMES.fullmatch(path.name):
                _remove(path)
        if not keep:
            folder.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            _remove(entry)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            yield Path(place, name)


def _distrust(path: Path, why: str) -> JobError:
    return JobError(f"{path}: {why}; remove it or choose another --output")
