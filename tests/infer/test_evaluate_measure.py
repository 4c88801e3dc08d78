"""Laws of one case's metrics that no command line is needed for."""

import jax
import numpy as np
import pytest
from skimage import data

from infer.evaluation.clips import make_lr, to_float
from infer.evaluation.measure import Case, Truth, make_judge, measure
from infer.evaluation.methods import bicubic
from sdvsr_jax.metrics.lpips import lpips

NUM_FRAMES = 2


@pytest.fixture(scope="module")
def hr():
    """A photograph that moves by a pixel, uint8 [2, 64, 64, 3]."""
    photo = data.astronaut()
    # part of the face: detail in every crop
    starts = range(200, 200 + NUM_FRAMES)
    frames = [photo[40:104, start : start + 64] for start in starts]
    return np.stack(frames)


def case_of(hr, clean_lr=None):
    lr = make_lr(hr, 4)
    rows = {"bicubic": bicubic(lr, 4)}
    intra = np.zeros(NUM_FRAMES, bool)
    return Case(rows, lr, clean_lr, intra, Truth(hr))


def test_lpips_is_the_mean_over_crops_of_one_size_at_the_offsets(hr):
    offsets = (0, 3)
    judge = make_judge("squeeze", None, None, offsets=offsets, metrics=("lpips",))
    case = case_of(hr)
    row = measure(case, 4, judge)["bicubic"]
    distance = jax.jit(lpips)
    weights = judge.weights["lpips"]
    # of 64 pixels, less the largest offset
    side = 61
    for frame in range(NUM_FRAMES):
        x = to_float(case.rows["bicubic"][frame][None])
        y = to_float(hr[frame][None])
        distances = []
        for offset in offsets:
            part = slice(offset, offset + side)
            x_crop = x[:, part, part]
            y_crop = y[:, part, part]
            (value,) = distance(weights, x_crop, y_crop)
            distances.append(value)
        assert distances[0] != distances[1]
        expected = np.mean(distances)
        # the same float32 sums in two programs
        np.testing.assert_allclose(row["lpips"][frame], expected, rtol=1e-5)


def test_a_clean_input_agrees_with_itself(hr):
    metrics = ("lr_psnr", "clean_psnr")
    judge = make_judge("squeeze", None, None, metrics=metrics)
    lr = make_lr(hr, 4)
    case = case_of(hr, clean_lr=lr)
    results = measure(case, 4, judge)
    agreement = results["input"]["clean_psnr"]
    assert np.isposinf(agreement).all()
    row = results["bicubic"]
    np.testing.assert_array_equal(row["clean_psnr"], row["lr_psnr"])


def test_an_input_that_is_one_level_off_has_48_decibels(hr):
    judge = make_judge("squeeze", None, None, metrics=("clean_psnr",))
    lr = make_lr(hr, 4)
    step = np.where(lr > 0, -1, 1)  # no level leaves 0..255
    other = (lr + step).astype(np.uint8)
    case = case_of(hr, clean_lr=other)
    results = measure(case, 4, judge)
    agreement = results["input"]["clean_psnr"]
    # 20 log10(255), to two digits
    np.testing.assert_allclose(agreement, 48.13, atol=0.01)


def test_only_the_metrics_that_are_asked_for_are_there(hr):
    judge = make_judge("squeeze", None, None, metrics=("psnr_y", "phase"))
    results = measure(case_of(hr), 4, judge)
    assert set(results["bicubic"]) == {"psnr_y", "phase"}
    assert set(results["HR"]) == {"phase"}
