"""The threads around the device keep order, stay bounded, pass errors on and stop."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infer.overlap import Worker, prefetch


@settings(max_examples=20, deadline=None)
@given(items=st.lists(st.integers()), depth=st.integers(1, 4))
def test_order_is_kept(items, depth):
    written = []
    with Worker(depth) as worker:
        for item in prefetch(items, depth):
            worker.put(lambda item=item: written.append(item))
    assert written == items


def test_reading_ahead_is_bounded_and_stops_with_the_reader():
    produced = []

    def source():
        for number in range(1000):
            produced.append(number)
            yield number

    reader = prefetch(source(), 3)
    assert next(reader) == 0
    time.sleep(0.1)
    assert len(produced) <= 1 + 3 + 1  # given, waiting, in hand
    reader.close()
    assert len(produced) <= 6
    assert not [t for t in threading.enumerate() if t.name == "read"]


def test_an_error_while_reading_comes_after_the_items_before_it():
    def source():
        yield 1
        raise OSError("gone")

    reader = prefetch(source(), 2)
    assert next(reader) == 1
    with pytest.raises(OSError, match="gone"):
        next(reader)


def test_an_error_while_writing_reaches_the_producer():
    def fail():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), Worker(1) as worker:  # noqa: PT012
        for _ in range(100):
            worker.put(fail)
            time.sleep(0.001)


def test_leaving_by_an_error_drops_what_waits():
    done = []
    with pytest.raises(KeyboardInterrupt), Worker(4) as worker:  # noqa: PT012
        for _ in range(4):
            worker.put(lambda: (time.sleep(0.05), done.append(1)))
        raise KeyboardInterrupt
    assert len(done) < 4
