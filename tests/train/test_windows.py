from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.windows import crop_origin, draw, window_indices


@settings(deadline=None, max_examples=20)
@given(
    num_shots=st.integers(1, 40),
    visits=st.integers(1, 8),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 2),
)
def test_an_epoch_visits_every_shot_equally_often(num_shots, visits, seed, epoch):
    size = num_shots * visits
    first = epoch * size
    indices = range(first, first + size)
    shots = [draw(index, num_shots, visits, seed).shot for index in indices]
    assert Counter(shots) == dict.fromkeys(range(num_shots), visits)


def test_a_draw_depends_on_seed_and_index_only():
    def numbers(index: int, seed: int) -> tuple[int, int]:
        window = draw(index, num_shots=10, visits=8, seed=seed)
        # so large that two generators agree by chance once in 10^18
        return window.shot, int(window.rng.integers(2**60))

    expected = numbers(7, 3)
    assert numbers(7, 3) == expected
    assert numbers(7, 4) != expected
    assert numbers(8, 3) != expected


@given(
    num_frames=st.integers(2, 30), length=st.integers(1, 40), seed=st.integers(0, 99)
)
def test_window_frames_are_neighbours(num_frames, length, seed):
    frames = window_indices(num_frames, length, np.random.default_rng(seed))
    assert len(frames) == length
    assert frames.min() >= 0
    assert frames.max() < num_frames
    assert (np.abs(np.diff(frames)) == 1).all()


def starts(num_frames: int, length: int, **kwargs) -> set[int]:
    rng = np.random.default_rng(0)
    # twenty draws of each of a hundred starts: none is missing by chance
    windows = [
        window_indices(num_frames, length, rng, reverse=0.0, **kwargs)
        for _ in range(2000)
    ]
    return {int(window[0]) for window in windows}


def test_window_starts_at_the_edges():
    # REDS: items 97, 98, 99 draw anew in [0, 97]
    assert starts(100, 3) == set(range(98))
    # Vimeo: im1..im5
    assert starts(7, 3) == {0, 1, 2, 3, 4}
    # as released: im7 never appears
    assert starts(7, 3, max_start=3) == {0, 1, 2, 3}


def test_short_shot_is_mirrored():
    frames = window_indices(3, 7, np.random.default_rng(0), reverse=0.0)
    np.testing.assert_array_equal(frames, [0, 1, 2, 1, 0, 1, 2])


def test_reversal_probability():
    rng = np.random.default_rng(0)
    windows = [window_indices(9, 3, rng, reverse=0.25) for _ in range(2000)]
    is_backwards = [window[0] > window[1] for window in windows]
    # 2000 draws know a share of a quarter to 0.01
    assert np.mean(is_backwards) == pytest.approx(0.25, abs=0.03)


def test_crop_is_on_the_lr_grid_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(100):
        top, column = crop_origin((97, 130), 16, 4, rng)
        assert top % 4 == 0
        assert column % 4 == 0
        assert top + 64 <= 97
        assert column + 64 <= 130
    words = "30x20 HR pixels are smaller than the crop of 64"
    with pytest.raises(ValueError, match=words):
        crop_origin((20, 30), 16, 4, rng)
