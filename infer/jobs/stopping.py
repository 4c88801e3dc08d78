"""SIGINT and SIGTERM end a live session the way it is meant to end: after a whole
frame, with the output closed.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_POLL = 0.05


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first signal sets ``stop``; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        # only the main thread may handle signals; whoever runs us in another one sets
        # ``stop`` itself
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt(
                "interrupted at once: the output may lack its last frames"
            )
        stop.set()

    before = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def unless_stopped(action: Callable[[], T], stop: threading.Event) -> T:
    """The result of something that may take long in C, where no signal is heard;
    KeyboardInterrupt if stopped.
    """
    done, results, errors = threading.Event(), list[T](), list[BaseException]()

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="live start", daemon=True).start()
    while not done.wait(_POLL):
        if stop.is_set():
            raise KeyboardInterrupt("interrupted before the first frame")
    if errors:
        raise errors[0]
    return results[0]
