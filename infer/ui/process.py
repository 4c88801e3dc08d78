"""The command as a process of its own: it outlives the server that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from infer.ui.spare import Spare

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

PROGRESS = "SDVSR_PROGRESS"
"""Names the file into which `infer.console.Clock` writes how far it is."""
PATIENCE = 30.0
"""Seconds between asking a process to stop and killing it. A program that is being
compiled hears no signal; killing loses nothing but the group of frames in progress.
"""


class Process:
    """A running command of a job folder, started here or found there.

    The command holds a lock on the file `lock` of its folder for as long as it lives:
    the kernel lets it go at every kind of death, so a number that another process got
    meanwhile is never taken for it.
    """

    def __init__(self, folder: Path, number: int | None) -> None:
        self.number = number
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: float | None = None

    @classmethod
    def start(cls, folder: Path, words: list[str], spare: Spare) -> "Process":
        """Start `python -m infer` with these words; its own words go to `log`."""
        process = cls(folder, None)
        extra = {PROGRESS: str(folder / "progress.json")}
        task = {"words": words, "environment": extra}
        lock = _open_lock(folder)
        # An earlier run's last words must not be shown as this one's.
        with lock, open(folder / "log", "wb") as log:
            files = [lock.fileno(), log.fileno()]
            child = spare.take(task, files) or _spawn(words, extra, lock, log)
        process._child = child
        process.number = child.pid
        return process

    def is_alive(self) -> bool:
        """Whether it still runs; one that was asked to stop long ago is killed."""
        if self._child is not None:
            alive = self._child.poll() is None
        else:
            alive = is_locked(self._folder)
        asked = time.monotonic() if self._asked is None else self._asked
        if alive and time.monotonic() - asked > PATIENCE:
            self._send(signal.SIGKILL)
        return alive

    def stop(self) -> None:
        """Ask it to end; finished segments stay in its work folder."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once and wait for its end."""
        self._send(signal.SIGKILL)
        # without a number nothing was sent, and waiting would not end
        while self.number is not None and self.is_alive():
            time.sleep(0.01)

    def death(self) -> str:
        """A sentence about the signal that ended it, or nothing."""
        code = self._child.returncode if self._child is not None else None
        if code is None or code >= 0:
            return ""
        name = signal.Signals(-code).name
        return f"The process was ended by {name}; resuming goes on from where it was."

    def _send(self, number: int) -> None:
        if self.number is None:
            return
        try:
            os.kill(self.number, number)
        except ProcessLookupError:
            return


def _spawn(
    words: list[str], extra: dict[str, str], lock: IO[bytes], log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "infer", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env={**os.environ, **extra},
        pass_fds=[lock.fileno()] if fcntl is not None else [],
        start_new_session=True,
    )


def _open_lock(folder: Path) -> IO[bytes]:
    lock = open(folder / "lock", "wb")  # noqa: SIM115
    if fcntl is not None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def is_locked(folder: Path) -> bool:
    """Whether a command runs in a job folder, whoever started it."""
    if fcntl is None or not (folder / "lock").exists():
        return False
    try:
        with _open_lock(folder):
            return False
    except BlockingIOError:
        return True


def last_line(folder: Path) -> str:
    """Returns the last line that the command of a job folder said."""
    try:
        with open(folder / "log", "rb") as log:
            log.seek(0, os.SEEK_END)
            # one line is shorter than this, and a log can be long
            log.seek(max(0, log.tell() - 4000))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    texts = [line.strip() for line in lines if line.strip()]
    return texts[-1] if texts else ""
