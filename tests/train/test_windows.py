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
    a, b = draw(7, 10, 8, 3), draw(7, 10, 8, 3)
    assert a.shot == b.shot
    assert a.rng.integers(2**60) == b.rng.integers(2**60)
    assert draw(7, 10, 8, 4).rng.integers(2**60) != draw(7, 10, 8, 3).rng.integers(
        2**60
    )


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
    return {
        int(window_indices(num_frames, length, rng, reverse=0.0, **kwargs)[0])
        for _ in range(2000)
    }


def test_window_starts_at_the_edges():
    assert starts(100, 3) == set(
        range(98)
    )  # REDS: items 97, 98, 99 draw anew in [0, 97]
    assert starts(7, 3) == {0, 1, 2, 3, 4}  # Vimeo: im1..im5
    assert starts(7, 3, max_start=3) == {0, 1, 2, 3}  # as released: im7 never appears


def test_short_shot_is_mirrored():
    frames = window_indices(3, 7, np.random.default_rng(0), reverse=0.0)
    np.testing.assert_array_equal(frames, [0, 1, 2, 1, 0, 1, 2])


def test_reversal_probability():
    rng = np.random.default_rng(0)
    backwards = [window_indices(9, 3, rng, reverse=0.25) for _ in range(2000)]
    assert np.mean([w[0] > w[1] for w in backwards]) == pytest.approx(0.25, abs=0.03)


def test_crop_is_on_the_lr_grid_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(100):
        top, left = crop_origin((97, 130), 16, 4, rng)
        assert top % 4 == left % 4 == 0
        assert top + 64 <= 97
        assert left + 64 <= 130
    with pytest.raises(
        ValueError, match="30x20 HR pixels are smaller than the crop of 64"
    ):
        crop_origin((20, 30), 16, 4, rng)
