"""What every worker does, in one table on a terminal, else in lines now and then."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from rich import table as rich_table
from rich.live import Live
from rich.text import Text

from infer.cluster.crew import Hand
from infer.cluster.drive import Job
from infer.console import console, printable, say

PLAIN_EVERY = 30.0
"""Seconds between two rounds of plain lines."""
REDRAWN_EVERY = 0.5
LONGEST = 40
"""Characters of a name."""


class Row(NamedTuple):
    """A worker. frames: that have gone through it in all."""

    worker: str
    state: str
    frames: int
    per_second: float


class Table:
    """Context manager; `look` is to be called often."""

    def __init__(self, hands: Sequence[Hand], jobs: Sequence[Job]) -> None:
        self._hands = hands
        self._jobs = jobs
        self._begun = time.monotonic()
        self._told = self._begun
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if console.is_terminal:
            self._live.stop()

    def look(self) -> None:
        """Shows how far the work is, unless that was shown just now."""
        now = time.monotonic()
        pause = REDRAWN_EVERY if console.is_terminal else PLAIN_EVERY
        if now - self._told < pause:
            return
        self._told = now
        if console.is_terminal:
            drawing = draw(self._summary(), self.rows())
            self._live.update(drawing, refresh=True)
            return
        say(f"         {self._summary()}")
        for worker, state, frames, per_second in self.rows():
            speed = f"{frames} frames, {per_second:.2f} frames/s"
            say(f"         {worker}: {state}, {speed}")

    def rows(self) -> Iterator[Row]:
        """Yields what every worker does."""
        seconds = max(time.monotonic() - self._begun, 1e-9)
        names = {}
        for job in self._jobs:
            names[job.key] = os.path.basename(job.plan.info.path)
        for hand in self._hands:
            state = "waits" if hand.is_idle else names.get(hand.key, "begins")
            if hand.awake is not None:
                state = "is started"
            per_second = hand.effort / seconds
            yield Row(hand.name, state[:LONGEST], hand.effort, per_second)

    def _summary(self) -> str:
        over = [job for job in self._jobs if job.is_over]
        failures = [job for job in over if job.error is not None]
        text = f"{len(over)} of {len(self._jobs)} videos are over"
        if not failures:
            return text
        return f"{text}, {len(failures)} of them failed"


def draw(title: str, rows: Iterable[Row]) -> rich_table.Table:
    """Returns the table of all workers."""
    drawing = rich_table.Table(title=title)
    for name in ("worker", "video", "frames", "frames/s"):
        drawing.add_column(name)
    for row in rows:
        # brackets in a name are no orders
        state = Text(printable(row.state))
        speed = f"{row.per_second:.2f}"
        drawing.add_row(row.worker, state, str(row.frames), speed)
    return drawing
