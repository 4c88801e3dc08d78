import jax
import numpy as np
import pytest

from infer.evaluation.measure import jumps
from sdvsr_jax.metrics.luma import HALF
from sdvsr_jax.metrics.pattern import phase_pattern
from sdvsr_jax.metrics.temporal import frame_change


def test_the_pattern_is_the_deviation_of_the_phase_means():
    generator = np.random.default_rng(0)
    cell = generator.integers(-3, 4, (4, 4)).astype(float)
    pattern = np.tile(cell, (6, 8))[None, ..., None]
    base = generator.integers(60, 190, (1, 24, 32, 3)).astype(float)
    sr = (base + pattern) / HALF - 1
    # the pattern is whole levels and nothing is clipped: only float32 rounding is left
    measured = phase_pattern(sr, base / HALF - 1)
    np.testing.assert_allclose(measured, [cell.std()], rtol=1e-5)


def test_equal_frames_and_a_constant_shift_have_no_pattern():
    image = np.linspace(-0.5, 0.5, 2 * 16 * 16 * 3).reshape(2, 16, 16, 3)
    np.testing.assert_array_equal(phase_pattern(image, image), 0)
    # 4 levels everywhere; a few values round differently, no phase more than others
    shifted = phase_pattern(image + 8 / 255, image)
    np.testing.assert_allclose(shifted, 0, atol=0.05)


def test_noise_without_a_pattern_falls_with_the_number_of_cells():
    noise = 0.1 * jax.random.normal(jax.random.key(0), (1, 256, 256, 3))
    # 12.75 levels over 12288 values per phase leave 0.115
    measured = float(phase_pattern(noise, np.zeros_like(noise))[0])
    assert measured == pytest.approx(0.115, rel=0.5)


def test_a_limit_lowers_the_noise_of_content_and_keeps_a_weak_pattern():
    noise = 0.1 * jax.random.normal(jax.random.key(0), (1, 256, 256, 3))
    base = np.zeros_like(noise)
    plain = float(phase_pattern(noise, base)[0])
    # values of 12.75 levels cut off at 4 deviate by 3.7: 0.3 of it, give or take 0.05
    assert float(phase_pattern(noise, base, limit=4.0)[0]) < 0.5 * plain
    grid = np.zeros((1, 256, 256, 3))
    grid[:, ::4, ::4] = 2 / HALF
    flat = phase_pattern(grid, base, limit=4.0)
    np.testing.assert_allclose(flat, phase_pattern(grid, base), rtol=1e-6)


def test_the_change_of_a_frame_is_in_levels():
    previous = np.full((1, 8, 8, 3), -1.0)
    current = np.full((1, 8, 8, 3), -1.0)
    current[:, :4] = -1 + 2 * 10 / 255
    np.testing.assert_allclose(frame_change(current, previous), [5.0])


def test_a_jump_is_the_change_at_i_frames_over_that_elsewhere():
    levels = np.array([100, 102, 104, 110, 112, 109], np.uint8)
    row = np.broadcast_to(levels[:, None, None, None], (6, 4, 4, 3))
    intra = np.array([True, False, False, True, False, False])
    # changes 2 2 6 2 3: elsewhere 9 / 4
    expected = [np.nan, np.nan, np.nan, 6 / 2.25, np.nan, np.nan]
    np.testing.assert_allclose(jumps(row, intra), expected, rtol=1e-6)


@pytest.mark.parametrize("value", [False, True])
def test_without_both_kinds_of_frames_there_is_no_jump(value):
    row = np.zeros((3, 4, 4, 3), np.uint8)
    assert np.isnan(jumps(row, np.full(3, value))).all()
