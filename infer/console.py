"""Messages for the user, all on stderr: facts before the start, one progress line,
one summary line.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


class Messages(Console):
    """The terminal, or whatever reads stderr."""

    def on_broken_pipe(self) -> None:
        """Does nothing: rich would end the process, but a job needs no reader."""


# Otherwise rich colours numbers, and breaks lines at the width of the terminal.
console = Messages(stderr=True, highlight=False, soft_wrap=True)
# Seconds per frame from which a rate in frames per second says little.
SLOW = 10


_speaker = threading.local()


def say(line: str) -> None:
    """One line, shown as it is; nobody need be there to read it."""
    voice()(line)


def voice() -> Callable[[str], None]:
    """Returns `say` with the name of this thread, for other threads of its work."""
    name = getattr(_speaker, "name", "")

    def speak(line: str) -> None:
        text = f"{name}: {line}" if name else line
        with contextlib.suppress(OSError):
            console.print(printable(text), markup=False, emoji=False)

    return speak


@contextlib.contextmanager
def speaking_as(name: str) -> Iterator[None]:
    """Puts a name before all lines of this thread."""
    _speaker.name = name
    try:
        yield
    finally:
        _speaker.name = ""


def printable(text: str) -> str:
    """The text with everything that a terminal would obey written as escapes.

    Names of files may hold anything: escape sequences, bytes that are no text.
    """
    characters = [c if c.isprintable() else _escape(c) for c in text]
    return "".join(characters)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no text
        code -= 0xDC00
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}"


def in_words(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def rate_in_words(frames: int, seconds: float) -> str:
    """'2.50 frames/s', or '40 s per frame' where that says more."""
    if frames and seconds / frames > SLOW:
        return f"{seconds / frames:.0f} s per frame"
    return f"{frames / max(seconds, 1e-9):.2f} frames/s"


class Clock(AbstractContextManager["Clock"]):
    """The progress line: frames, frames/s, time left, and how long the first frame
    took.

    On a terminal it is redrawn; elsewhere a plain line appears every half minute.
    quiet: it only counts, for one of several jobs at the same time.
    """

    PLAIN_EVERY = 30.0
    RECORD_EVERY = 0.1
    """Seconds between two records for other programs; people read no faster."""

    def __init__(
        self, total: int | None, num_finished: int = 0, quiet: bool = False
    ) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            # The summary takes its place.
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._quiet = quiet
        self._total = total
        self._num_finished = num_finished
        self.frames = 0
        self._task = self._bar.add_task(
            "upscaling", total=total, completed=num_finished, speed=""
        )
        self._begin()
        self.first_frame: float | None = None
        self._record_path = os.environ.get("SDVSR_PROGRESS")
        self._recorded = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._record()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started

    def go_on_after(self, num_finished: int) -> None:
        """An earlier run has done so many frames."""
        self._num_finished = num_finished
        self._bar.update(self._task, completed=num_finished)

    def tick(self) -> None:
        """One more frame is finished."""
        self.frames += 1
        if self.first_frame is None:
            self.first_frame = self.seconds
        rate = rate_in_words(self.frames, self.seconds)
        speed = f"{rate}, first after {self.first_frame:.1f} s"
        self._bar.update(self._task, advance=1, speed=speed)
        age = self.seconds - self._recorded
        if self.frames == 1 or age > self.RECORD_EVERY:
            self._record()
        if not console.is_terminal and not self._quiet:
            self._say_sometimes(speed)

    def take_back(self, count: int) -> None:
        """So many frames must be done again."""
        self.frames -= count
        self._bar.update(self._task, advance=-count)

    def _begin(self) -> None:
        self.started = time.perf_counter()
        self._last_line = self.started

    def _say_sometimes(self, speed: str) -> None:
        now = time.perf_counter()
        if now - self._last_line > self.PLAIN_EVERY:
            self._last_line = now
            count = self._num_finished + self.frames
            total = self._total or "?"
            say(f"         {count} of {total} frames, {speed}")

    def _record(self) -> None:
        """Puts the state into the file that SDVSR_PROGRESS names, as JSON.

        It is for programs that watch the job; a record that cannot be put there ends no
        job.
        """
        if not self._record_path or not self.frames or self._quiet:
            return
        self._recorded = self.seconds
        count = self._num_finished + self.frames
        rate = self.frames / max(self.seconds, 1e-9)
        seconds = None
        if self._total is not None:
            # The container's number of frames may be too small.
            remaining = max(0, self._total - count)
            seconds = round(remaining / rate, 2)
        values = {
            "frames": count,
            "total": self._total,
            "fps": round(rate, 4),
            "eta": seconds,
            "first_frame": self.first_frame,
        }
        # Renamed when it is whole: others read it at any moment.
        part = f"{self._record_path}.unfinished"
        with contextlib.suppress(OSError):
            with open(part, "w", encoding="utf-8") as file:
                json.dump(values, file)
            os.replace(part, self._record_path)
