"""Frames that come faster than they are upscaled, and frames that count as the same
picture.
"""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from infer.frame import Frame
from infer.similar import Similar, block_means
from infer.sources.inbox import LIVE_DEPTH, Inbox, Overflow

BLANK = np.zeros((4, 4, 3), np.uint8)


class Burst:
    """A source of ``count`` frames that come at once; one of them is fresh."""

    def __init__(
        self, count: int, fresh: int = 0, error: Exception | None = None
    ) -> None:
        self._count = count
        self._fresh = fresh
        self._error = error
        self.num_read = 0

    def frames(self) -> Iterator[Frame]:
        for number in range(self._count):
            self.num_read += 1
            is_fresh = number == self._fresh
            yield Frame(BLANK, number, 1, number, is_fresh=is_fresh)
        if self._error is not None:
            raise self._error


def live_inbox(source: object, overflow: Overflow) -> Inbox:
    return Inbox(source, LIVE_DEPTH, overflow, threading.Event())  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_drop_keeps_the_newest_and_passes_on_their_freshness():
    inbox = live_inbox(Burst(100, fresh=40), "drop")
    wait_for(lambda: inbox.num_received == 100)
    frames = list(inbox.frames())
    pts = [frame.pts for frame in frames]
    assert pts == [97, 98, 99]
    freshness = [frame.is_fresh for frame in frames]
    assert freshness == [True, False, False]
    assert inbox.num_dropped == 100 - LIVE_DEPTH


def test_frames_dropped_before_the_start_are_counted_apart():
    inbox = live_inbox(Burst(100), "drop")
    wait_for(lambda: inbox.num_received == 100)
    inbox.begin()
    assert inbox.num_missed == 100 - LIVE_DEPTH
    assert inbox.num_dropped == 0


def test_block_makes_the_source_wait_and_loses_nothing():
    source = Burst(50)
    inbox = live_inbox(source, "block")
    wait_for(lambda: source.num_read > LIVE_DEPTH)
    time.sleep(0.2)
    # one is in the reader's hand
    assert source.num_read == LIVE_DEPTH + 1
    pts = [frame.pts for frame in inbox.frames()]
    assert pts == list(range(50))
    assert inbox.num_dropped == 0


def test_a_part_of_the_frames_is_handed_out():
    inbox = Inbox(Burst(20), LIVE_DEPTH, skip=4, count=3)
    pts = [frame.pts for frame in inbox.frames()]
    assert pts == [4, 5, 6]


@pytest.mark.parametrize("overflow", ["drop", "block"])
def test_a_stop_ends_reader_and_loop(overflow: Overflow):
    stop = threading.Event()
    end = threading.Event()

    class Endless:
        def frames(self) -> Iterator[Frame]:
            try:
                while True:
                    yield from Burst(1).frames()
            finally:
                end.set()

    inbox = Inbox(Endless(), LIVE_DEPTH, overflow, stop)
    for number, _ in enumerate(inbox.frames()):
        if number == 5:
            stop.set()
    assert inbox.join(10)
    assert end.is_set()


def test_an_error_of_the_source_comes_after_its_frames():
    inbox = live_inbox(Burst(2, error=OSError("gone")), "block")
    frames = inbox.frames()
    for number in range(2):
        assert next(frames).pts == number
    with pytest.raises(OSError, match="gone"):
        next(frames)
    assert inbox.num_received == 2


def picture(seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # sides that are no multiples of a block's, and values that noise does not clip
    values = rng.uniform(0.2, 0.8, (45, 61, 3))
    levels = values * np.iinfo(dtype).max
    return levels.astype(dtype)


def frame_of(rgb: np.ndarray, is_fresh: bool = False) -> Frame:
    return Frame(rgb, 0, 1, is_fresh=is_fresh)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_is_similar_and_a_small_thing_that_moves_is_not(dtype: type):
    similar = Similar()
    still = picture(dtype=dtype)
    level = np.iinfo(dtype).max // 255
    assert not similar.matches(frame_of(still))
    # three levels of 255, as a camera has them in the dark
    noise = np.random.default_rng(1).normal(0, 3 * level, still.shape)
    noisy = (still + noise).astype(dtype)
    assert similar.matches(frame_of(noisy))
    # 16 of 2745 pixels
    moved = still.copy()
    moved[20:24, 30:34] = np.iinfo(dtype).max
    assert not similar.matches(frame_of(moved))


def test_a_slow_fade_is_not_missed():
    similar = Similar()
    still = np.full((16, 16, 3), 100, np.uint8)
    changes = []
    for step in range(13):
        frame = frame_of(still + step)
        if not similar.matches(frame):
            changes.append(step)
    # each is held beside the last one that was computed, not beside its neighbour
    assert changes == [0, 3, 6, 9, 12]


def test_a_fresh_frame_is_never_a_repetition():
    similar = Similar()
    similar.matches(frame_of(BLANK))
    assert similar.matches(frame_of(BLANK))
    assert not similar.matches(frame_of(BLANK, is_fresh=True))


def test_block_means_are_means_of_blocks():
    rgb = picture()
    means = block_means(rgb)
    assert means.shape == (6, 8, 3)
    # float32 sums of at most 64 values of 8 bits are off by far less than 1e-5.
    corner = rgb[40:, 56:].mean((0, 1)) / 255
    np.testing.assert_allclose(means[5, 7], corner, rtol=1e-5)
    inside = rgb[8:16, 16:24].mean((0, 1)) / 255
    np.testing.assert_allclose(means[1, 2], inside, rtol=1e-5)
