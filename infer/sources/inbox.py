"""Reading ahead: a bounded queue of frames, and the policy for a full one."""

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Literal, Self

from infer.frame import Frame, Source

Overflow = Literal["drop", "block", "skip-similar"]
# Frames that wait in a live session: enough for a network's jitter, short enough to
# stay live.
LIVE_DEPTH = 3
# Seconds between two looks at the event that stops everything.
POLL = 0.1
# Seconds that a reader gets to end; one that waits for a dead pipe never would.
LONGEST_GOODBYE = 10.0


class Inbox:
    """Reads a source in a thread of its own, at most ``depth`` frames ahead.

    overflow: 'block' makes the reader wait when the queue is full. Otherwise the oldest
    frame is dropped and counted, and its freshness passes on to the next. skip, count:
    the part of the frames that is handed out. stop: ends the reader and `frames`.
    """

    def __init__(
        self,
        source: Source,
        depth: int,
        overflow: Overflow = "block",
        stop: threading.Event | None = None,
        *,
        skip: int = 0,
        count: int | None = None,
    ) -> None:
        self.overflow: Overflow = overflow
        self._source = source
        self._depth = depth
        self._stop = threading.Event() if stop is None else stop
        self._part = (skip, None if count is None else skip + count)
        self._waiting: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._has_ended = False
        self._error: BaseException | None = None
        self.num_received = 0
        self.num_dropped = 0
        self.num_missed = 0
        # A daemon: a source that says nothing must not keep the process alive.
        self._thread = threading.Thread(target=self._read, name="read", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stop.set()
        self.join(LONGEST_GOODBYE)

    def frames(self) -> Iterator[Frame]:
        """Returns the frames until the source ends or ``stop`` is set.

        The source's error is raised after the frames that came before it.
        """
        return islice(self._all_frames(), *self._part)

    def begin(self) -> None:
        """Counts frames that were dropped so far as ``num_missed``."""
        with self._changed:
            self.num_missed = self.num_dropped
            self.num_dropped = 0

    def join(self, seconds: float) -> bool:
        """Returns whether the reader ended within that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _all_frames(self) -> Iterator[Frame]:
        while not self._stop.is_set():
            frame = self._take()
            if frame is not None:
                yield frame
            elif self._has_ended and not self._waiting:
                break
        if self._error is not None:
            raise self._error

    def _take(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._has_ended, POLL)
            if not self._waiting:
                return None
            frame = self._waiting.popleft()
            self._changed.notify_all()
            return frame

    def _read(self) -> None:
        frames = self._source.frames()
        try:
            for frame in frames:
                if not self._put(frame):
                    break
        except BaseException as error:
            self._error = error
        finally:
            # Generators hold the file open until they are closed.
            close = getattr(frames, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        with self._changed:
            self.num_received += 1
            while len(self._waiting) >= self._depth:
                if self.overflow != "block":
                    frame = self._drop_oldest(frame)
                elif self._stop.is_set():
                    return False
                else:
                    self._changed.wait(POLL)
            self._waiting.append(frame)
            self._changed.notify_all()
            return not self._stop.is_set()

    def _drop_oldest(self, newest: Frame) -> Frame:
        """Returns the newest frame, fresh if the dropped one was its predecessor."""
        oldest = self._waiting.popleft()
        self.num_dropped += 1
        if not oldest.is_fresh:
            return newest
        if not self._waiting:
            return newest._replace(is_fresh=True)
        self._waiting[0] = self._waiting[0]._replace(is_fresh=True)
        return newest
