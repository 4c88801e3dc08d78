"""Signals that end a live session, and actions in C that hear none."""

import signal
import threading

import pytest

from infer.jobs.stopping import stopped_by_signals, unless_stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number: int) -> None:
    stop = threading.Event()
    with stopped_by_signals(stop):
        signal.raise_signal(number)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt, match="interrupted at once"):
            signal.raise_signal(number)


def test_handlers_of_the_caller_come_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with stopped_by_signals(threading.Event()):
        during = [signal.getsignal(number) for number in numbers]
    after = [signal.getsignal(number) for number in numbers]
    assert during != before
    assert after == before


def test_in_another_thread_no_handler_is_set() -> None:
    """Python lets the main thread alone set them."""
    before = signal.getsignal(signal.SIGINT)
    handlers = []

    def work() -> None:
        with stopped_by_signals(threading.Event()):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_an_action_gives_its_result_or_its_error() -> None:
    def fail() -> None:
        raise OSError("gone")

    assert unless_stopped(lambda: 7, None) == 7
    with pytest.raises(OSError, match="gone"):
        unless_stopped(fail, threading.Event())


def test_an_action_that_hangs_is_left_when_a_stop_is_asked_for() -> None:
    stop = threading.Event()
    release = threading.Event()

    def hang() -> None:
        stop.set()
        # a limit for a failure: the test itself sets it
        release.wait(60)

    try:
        with pytest.raises(KeyboardInterrupt, match="before the first frame"):
            unless_stopped(hang, stop)
    finally:
        release.set()
