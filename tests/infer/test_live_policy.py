"""What happens to frames that come faster than they are upscaled, and which of them
count as the same picture.
"""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from infer.sources.inbox import DEPTH, Arrival, Inbox, Similar, block_means

BLANK = np.zeros((4, 4, 3), np.uint8)


def burst(count: int, fresh: int = 0) -> Iterator[Arrival]:
    for number in range(count):
        yield Arrival(number, 0.0, number == fresh, BLANK)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_drop_keeps_the_newest_and_passes_on_what_they_began():
    inbox = Inbox(burst(100, fresh=40), "drop", threading.Event())
    wait_for(lambda: inbox.received == 100)
    left = list(inbox)
    assert [arrival.ticks for arrival in left] == [97, 98, 99]
    assert [arrival.fresh for arrival in left] == [True, False, False]
    assert inbox.dropped == 100 - DEPTH


def test_what_was_dropped_before_the_start_is_counted_apart():
    inbox = Inbox(burst(100), "drop", threading.Event())
    wait_for(lambda: inbox.received == 100)
    inbox.begin()
    assert (inbox.missed, inbox.dropped) == (100 - DEPTH, 0)


def test_block_makes_the_source_wait_and_loses_nothing():
    read = []

    def source() -> Iterator[Arrival]:
        for arrival in burst(50):
            read.append(1)
            yield arrival

    inbox = Inbox(source(), "block", threading.Event())
    wait_for(lambda: len(read) > DEPTH)
    time.sleep(0.2)
    assert len(read) == DEPTH + 1
    assert [arrival.ticks for arrival in inbox] == list(range(50))
    assert inbox.dropped == 0


@pytest.mark.parametrize("policy", ["drop", "block"])
def test_a_stop_ends_reader_and_loop(policy):
    stop, ended = threading.Event(), threading.Event()

    def endless() -> Iterator[Arrival]:
        try:
            while True:
                yield from burst(1)
        finally:
            ended.set()

    inbox = Inbox(endless(), policy, stop)
    for number, _ in enumerate(inbox):
        if number == 5:
            stop.set()
    assert inbox.join(10)
    assert ended.is_set()


def test_an_error_of_the_source_comes_after_its_frames():
    def breaking() -> Iterator[Arrival]:
        yield from burst(2)
        raise OSError("gone")

    inbox, seen = Inbox(breaking(), "block", threading.Event()), []
    with pytest.raises(OSError, match="gone"):
        seen.extend(iter(inbox))
    assert inbox.received == 2


def picture(seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    rng, top = np.random.default_rng(seed), np.iinfo(dtype).max
    return (rng.uniform(0.2, 0.8, (45, 61, 3)) * top).astype(dtype)


def arrival(rgb: np.ndarray, fresh: bool = False) -> Arrival:
    return Arrival(0, 0.0, fresh, rgb)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_noise_is_similar_and_a_small_thing_that_moves_is_not(dtype):
    similar, still, unit = Similar(), picture(dtype=dtype), np.iinfo(dtype).max // 255
    assert not similar.matches(arrival(still))
    noise = np.random.default_rng(1).normal(0, 3 * unit, still.shape)
    assert similar.matches(arrival((still + noise).astype(dtype)))
    moved = still.copy()
    moved[20:24, 30:34] = np.iinfo(dtype).max  # 16 of 2745 pixels
    assert not similar.matches(arrival(moved))


def test_a_slow_fade_is_not_missed():
    similar, still = Similar(), np.full((16, 16, 3), 100, np.uint8)
    results = [similar.matches(arrival(still + step)) for step in range(13)]
    assert [step for step, same in enumerate(results) if not same] == [0, 3, 6, 9, 12]


def test_a_fresh_frame_is_never_a_repetition():
    similar = Similar()
    similar.matches(arrival(BLANK))
    assert similar.matches(arrival(BLANK))
    assert not similar.matches(arrival(BLANK, fresh=True))


def test_block_means_are_means_of_blocks():
    rgb = picture()
    means = block_means(rgb)
    assert means.shape == (6, 8, 3)
    np.testing.assert_allclose(means[5, 7], rgb[40:, 56:].mean((0, 1)) / 255, rtol=1e-5)
    np.testing.assert_allclose(
        means[1, 2], rgb[8:16, 16:24].mean((0, 1)) / 255, rtol=1e-5
    )
