"""What happens to frames that arrive faster than they can be upscaled."""

import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Literal, NamedTuple

import numpy as np

Policy = Literal["drop", "block", "skip-similar"]
DEPTH = 3
"""Frames that wait at most: enough for a network's jitter, short enough to stay live.
"""
_POLL = 0.1


class Arrival(NamedTuple):
    """A decoded frame. ticks: on the session's clock; arrived: `time.monotonic` when
    its bytes were there; fresh: it does not continue the frame before it; rgb:
    uint8/uint16 [h, w, 3].
    """

    ticks: int
    arrived: float
    fresh: bool
    rgb: np.ndarray


class Inbox:
    """A bounded queue between the thread that reads and the loop that computes.

    block: a full queue makes the reader wait. Otherwise the oldest frame is dropped and
    counted; what it began (``fresh``) is passed on to the next.
    """

    def __init__(
        self,
        source: Generator[Arrival, None, None],
        policy: Policy,
        stop: threading.Event,
    ) -> None:
        self.policy = policy
        self._source, self._stop = source, stop
        self._waiting: deque[Arrival] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.received = self.dropped = self.missed = 0
        self._thread = threading.Thread(
            target=self._read, name="live input", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Arrival]:
        """Frames until the source ends, its error is raised here, or ``stop`` is set."""
        while not self._stop.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended, _POLL)
                if self._waiting:
                    arrival = self._waiting.popleft()
                    self._changed.notify_all()
                elif self._ended:
                    break
                else:
                    continue
            yield arrival
        if self._error is not None:
            raise self._error

    def begin(self) -> None:
        """From now on frames are taken out; those that were dropped before are counted
        as ``missed``.
        """
        with self._changed:
            self.missed, self.dropped = self.dropped, 0

    def join(self, seconds: float) -> bool:
        """Give the reader that long to end; False if it is still waiting for its
        source.
        """
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _read(self) -> None:
        try:
            with closing(self._source):
                for arrival in self._source:
                    if not self._put(arrival):
                        break
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, arrival: Arrival) -> bool:
        with self._changed:
            self.received += 1
            while len(self._waiting) >= DEPTH:
                if self.policy != "block":
                    lost = self._waiting.popleft()
                    self.dropped += 1
                    first = self._waiting[0] if self._waiting else arrival
                    self._waiting[0] = first._replace(fresh=first.fresh or lost.fresh)
                elif self._stop.is_set():
                    return False
                else:
                    self._changed.wait(_POLL)
            self._waiting.append(arrival)
            self._changed.notify_all()
            return not self._stop.is_set()


BLOCK = 8
NEARLY = 2.001 / 255  # two levels, and the rounding of their means


class Similar:
    """Recognises a frame that is nearly the one last upscaled (not the one last seen:
    slow change adds up).

    Nearly: in no block of 8x8 pixels do the means of any colour differ by more than
    2/255, so that something small that moves counts as a change while the noise of a
    still picture does not.
    """

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None

    def matches(self, arrival: Arrival) -> bool:
        """Whether the last result may be shown again; if not, this frame becomes the
        reference.
        """
        means = block_means(arrival.rgb)
        if (
            self._reference is not None
            and not arrival.fresh
            and np.abs(means - self._reference).max() <= NEARLY
        ):
            return True
        self._reference = means
        return False


def block_means(rgb: np.ndarray) -> np.ndarray:
    """Means of 8x8 blocks (smaller at the right and lower edge), full scale = 1."""
    height, width, _ = rgb.shape
    rows, columns = np.arange(0, height, BLOCK), np.arange(0, width, BLOCK)
    sums = np.add.reduceat(np.add.reduceat(rgb, rows, 0, dtype=np.float32), columns, 1)
    sizes = (
        np.diff([*rows, height])[:, None, None] * np.diff([*columns, width])[:, None]
    )
    return sums / sizes / np.iinfo(rgb.dtype).max
