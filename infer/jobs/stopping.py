"""SIGINT and SIGTERM end a live session the way it is meant to end: after a whole
frame, with the output closed.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
# Exit status.
INTERRUPTED = 130
# Seconds between two looks at the event while C code runs, which hears no signal.
POLL = 0.05


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Makes the first signal set ``stop``, a second one interrupt at once, and a third
    end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may handle signals; a caller in another one sets ``stop``
        # itself.
        yield
        return

    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 2:
            os._exit(INTERRUPTED)
        if stop.is_set():
            count = 2
            raise KeyboardInterrupt(
                "interrupted at once: the output may lack its last frames"
            )
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def unless_stopped(action: Callable[[], T], stop: threading.Event | None) -> T:
    """Returns the result of an action that may take long in C.

    KeyboardInterrupt if ``stop`` is set before it ends; its own error is raised here.
    Signals are heard meanwhile, which C code would keep waiting.
    """
    has_ended = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)
        finally:
            has_ended.set()

    threading.Thread(target=run, name="live start", daemon=True).start()
    while not has_ended.wait(POLL):
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt("interrupted before the first frame")
    if errors:
        raise errors[0]
    return results[0]
