"""Numbers of a validation: drift of known curves, windows to and fro, held-out data."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import DataConfig, RunConfig
from train.frames import Video
from train.validate import Drift, ping_pong, summary, validation_config

SAMPLE = np.zeros((4, 12, 3), np.uint8)


def curve(psnr: np.ndarray, lpips: np.ndarray | None = None) -> Drift:
    if lpips is None:
        lpips = np.full(len(psnr), 0.2)
    bicubic = np.full(len(psnr), 25.0)
    return Drift(psnr, lpips, bicubic, SAMPLE)


@given(st.floats(-0.05, 0.05), st.integers(9, 200))
def test_the_slope_of_a_line_is_its_drift_in_a_hundred_frames(slope, frames):
    psnr = 30 + slope * np.arange(frames)
    numbers = summary(curve(psnr))
    # float64: a fit of up to 200 points
    assert numbers["psnr_drift"] == pytest.approx(100 * slope, abs=1e-6)
    assert numbers["lpips_drift"] == pytest.approx(0, abs=1e-9)


def test_the_first_frames_do_not_count_as_drift() -> None:
    psnr = np.full(50, 30.0)
    # a stream that fills its history gets better for some frames
    psnr[:5] = 26
    numbers = summary(curve(psnr))
    assert numbers["psnr_drift"] == pytest.approx(0, abs=1e-9)
    assert numbers["psnr_first"] == 26
    assert numbers["psnr"] == pytest.approx(29.6)
    assert numbers["psnr_over_bicubic"] == pytest.approx(4.6)


def test_few_frames_have_no_drift() -> None:
    assert summary(curve(np.arange(8.0)))["psnr_drift"] == 0


@given(st.integers(1, 9), st.integers(1, 40))
def test_a_window_is_played_to_and_fro(count, frames):
    # NumPy's arrays, because JAX would compile for every length
    numbers: Any = np.arange(count, dtype=np.float32).reshape(count, 1, 1, 1, 1)
    is_start: Any = np.zeros((count, 1), bool)
    video = Video(numbers, numbers, is_start)
    longer = ping_pong(video, frames)
    order = np.asarray(longer.lr).ravel()
    assert len(order) == frames
    beginning = np.arange(min(count, frames))
    np.testing.assert_array_equal(order[:count], beginning)
    # neighbours stay neighbours, so that no cut is made
    distance = 1 if count > 1 else 0
    assert (np.abs(np.diff(order)) == distance).all()


def test_held_out_windows_lie_beside_a_packed_file(tmp_path) -> None:
    packed = tmp_path / "windows.npy"
    data = DataConfig(path=str(packed), reverse=0.5, static=0.3, num_workers=2)
    run = RunConfig("denoise", ("unet/*",), data=data, validation_windows=5)
    settings = validation_config(run)
    assert settings.path == str(packed)
    # the same windows in every validation
    assert (settings.flip, settings.reverse, settings.static) == (0, 0, 0)
    assert settings.batch_size == 5
    assert settings.num_workers == 0
    held_out = tmp_path / "windows.validation.npy"
    held_out.touch()
    assert validation_config(run).path == str(held_out)


def test_a_dataset_has_a_split_of_its_own() -> None:
    run = RunConfig("denoise", ("unet/*",))
    data = validation_config(run)
    assert data.split == "validation"
    assert data.path == run.data.path
