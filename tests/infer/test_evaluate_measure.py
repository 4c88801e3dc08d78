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
    return np.stack([photo[40:104, 200 + i : 264 + i] for i in range(NUM_FRAMES)])


def case_of(hr, clean_lr=None):
    lr = make_lr(hr, 4)
    rows = {"bicubic": bicubic(lr, 4)}
    intra = np.zeros(NUM_FRAMES, bool)
    return Case(rows, lr, clean_lr, intra, Truth(hr))


def test_lpips_is_the_mean_over_crops_of_one_size_at_the_offsets(hr):
    judge = make_judge("squeeze", None, None, offsets=(0, 3), metrics=("lpips",))
    case = case_of(hr)
    values = measure(case, 4, judge)["bicubic"]["lpips"]
    distance = jax.jit(lpips)
    for frame in range(NUM_FRAMES):
        x = to_float(case.rows["bicubic"][frame][None])
        y = to_float(hr[frame][None])
        crops = [(x[:, :61, :61], y[:, :61, :61]), (x[:, 3:, 3:], y[:, 3:, 3:])]
        distances = [distance(judge.weights["lpips"], *crop)[0] for crop in crops]
        assert distances[0] != distances[1]
        # the same float32 sums in two programs
        np.testing.assert_allclose(values[frame], np.mean(distances), rtol=1e-5)


def test_a_clean_input_agrees_with_itself(hr):
    metrics = ("lr_psnr", "clean_psnr")
    judge = make_judge("squeeze", None, None, metrics=metrics)
    lr = make_lr(hr, 4)
    results = measure(case_of(hr, clean_lr=lr), 4, judge)
    assert np.isposinf(results["input"]["clean_psnr"]).all()
    row = results["bicubic"]
    np.testing.assert_array_equal(row["clean_psnr"], row["lr_psnr"])


def test_an_input_that_is_one_level_off_has_48_decibels(hr):
    judge = make_judge("squeeze", None, None, metrics=("clean_psnr",))
    lr = make_lr(hr, 4)
    step = np.where(lr > 0, -1, 1)  # no level leaves 0..255
    other = (lr + step).astype(np.uint8)
    results = measure(case_of(hr, clean_lr=other), 4, judge)
    # 20 log10(255)
    np.testing.assert_allclose(results["input"]["clean_psnr"], 48.13, atol=0.01)


def test_only_the_metrics_that_are_asked_for_are_there(hr):
    judge = make_judge("squeeze", None, None, metrics=("psnr_y", "phase"))
    results = measure(case_of(hr), 4, judge)
    assert set(results["bicubic"]) == {"psnr_y", "phase"}
    assert set(results["HR"]) == {"phase"}
