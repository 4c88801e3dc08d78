"""The loop keeps order, stays bounded, passes errors on, stops, and marks groups."""

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infer.errors import JobError
from infer.frame import Frame
from infer.pipeline import Policy, Worker, run
from infer.sources.inbox import Inbox

BLANK = np.zeros((4, 4, 3), np.uint8)


class Numbers:
    """A source whose frames carry numbers as timestamps."""

    def __init__(self, numbers: Iterable[int], error: Exception | None = None) -> None:
        self._numbers = numbers
        self._error = error
        self.handed_out: list[int] = []

    def frames(self) -> Iterator[Frame]:
        for number in self._numbers:
            self.handed_out.append(number)
            yield Frame(BLANK, number, 1, number)
        if self._error is not None:
            raise self._error


class Counting:
    """A model whose state counts frames and whose picture is that count."""

    def __init__(self, bad_frame: int | None = None) -> None:
        self._bad_frame = bad_frame

    def step(self, state: int, pixels: np.ndarray) -> tuple[int, np.ndarray]:
        return state + 1, np.array(state)

    def restart(self, state: int) -> int:
        return 0

    def snapshot(self, state: int) -> int:
        return state

    def is_finite(self, state: int) -> bool:
        return state - 1 != self._bad_frame


class Record:
    """A sink that remembers all calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def write(self, frame: Frame, pixels: np.ndarray) -> None:
        self.calls.append(("write", frame.pts))

    def mark(self, state: int) -> None:
        self.calls.append(("mark", state))

    def close(self) -> None:
        pass


@settings(max_examples=20, deadline=None)
@given(numbers=st.lists(st.integers(), max_size=12), depth=st.integers(1, 4))
def test_order_is_kept(numbers, depth):
    sink = Record()
    with Inbox(Numbers(numbers), depth) as inbox:
        count = run(inbox, Counting(), 0, sink, Policy(write_behind=depth))
    assert count == len(numbers)
    assert sink.calls == [("write", number) for number in numbers]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 12), group=st.integers(1, 5))
def test_every_group_and_the_end_are_marked_with_the_state_after_them(count, group):
    sink = Record()
    run(Numbers(range(count)), Counting(), 0, sink, Policy(group=group))
    marks = [
        (place, state)
        for place, (call, state) in enumerate(sink.calls)
        if call != "write"
    ]
    ends = sorted({*range(group, count + 1, group), count} - {0})
    assert [state for _, state in marks] == ends
    # A mark follows the frames of its group at once, the marks before it not counted.
    assert [place - number for number, (place, _) in enumerate(marks)] == ends


def test_a_frame_that_is_not_finite_stops_before_it_is_written():
    sink = Record()
    with pytest.raises(JobError, match=r"frame 3: .* NaN or infinity"):
        run(Numbers(range(6)), Counting(bad_frame=3), 0, sink, Policy(group=2))
    expected = [("write", 0), ("write", 1), ("mark", 2), ("write", 2)]
    assert sink.calls == expected


def test_reading_ahead_is_bounded_and_stops_with_the_reader():
    source = Numbers(range(1000))
    threads_before = set(threading.enumerate())
    with Inbox(source, 3) as inbox:
        assert next(inbox.frames()).pts == 0
        # Time enough to read all of them, if nothing held the reader back.
        time.sleep(0.1)
        # One was taken, three wait, one is in the reader's hand.
        assert len(source.handed_out) <= 5
    threads_after = set(threading.enumerate()) - threads_before
    assert "read" not in {thread.name for thread in threads_after}


def test_an_error_while_reading_comes_after_the_frames_before_it():
    with Inbox(Numbers([1], OSError("gone")), 2) as inbox:
        frames = inbox.frames()
        assert next(frames).pts == 1
        with pytest.raises(OSError, match="gone"):
            next(frames)


def test_an_error_while_writing_reaches_the_producer():
    def fail():
        raise OSError(28, "No space left on device")

    def write_often():
        with Worker(1) as worker:
            for _ in range(100):
                worker.put(fail)
                # A hundred times: the error comes with one of the next calls, not with
                # its own.
                time.sleep(0.001)

    with pytest.raises(OSError, match="No space"):
        write_often()


def test_leaving_by_an_error_drops_all_that_waits():
    process = []

    def work():
        # Slow, so that the error comes while others wait.
        time.sleep(0.05)
        process.append(1)

    def interrupt():
        with Worker(4) as worker:
            for _ in range(4):
                worker.put(work)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert len(process) < 4
