"""Two bounded threads around the device: one reads ahead, one writes behind. Order is
never changed.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
_POLL = 0.1


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """The items, produced in a thread at most ``depth`` ahead; its exception is raised
    here, in order.
    """
    ready: queue.Queue[tuple[str, object]] = queue.Queue(depth)
    stop = threading.Event()

    def offer(kind: str, value: object) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=_POLL)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not offer("item", item):
                    return
            offer("end", None)
        except BaseException as error:
            offer("error", error)

    thread = threading.Thread(target=produce, name="read", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


class Worker:
    """Runs actions one after the other in a thread, at most ``depth`` waiting.

    A failed action ends the thread; its exception is raised by the next `put` or on
    leaving the context. Leaving by an exception drops what is still waiting.
    """

    def __init__(self, depth: int) -> None:
        self._actions: queue.Queue[Callable[[], None] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = threading.Thread(target=self._run, name="write", daemon=True)
        self._thread.start()

    def put(self, action: Callable[[], None]) -> None:
        """Queue an action; waits while the queue is full."""
        self._offer(action)
        self._raise()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._dropped = kind is not None
        self._offer(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def _offer(self, action: Callable[[], None] | None) -> None:
        while self._thread.is_alive():
            try:
                self._actions.put(action, timeout=_POLL)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (action := self._actions.get()) is not None:
            if self._dropped:
                continue
            try:
                action()
            except BaseException as error:
                self._error = error
                return
