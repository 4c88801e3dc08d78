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
    tiled = np.tile(cell, (6, 8))
    pattern = tiled[None, ..., None]
    levels = generator.integers(60, 190, (1, 24, 32, 3)).astype(float)
    base = levels / HALF - 1
    sr = (levels + pattern) / HALF - 1
    deviation = phase_pattern(sr, base)
    # the pattern is whole levels and nothing is clipped: only float32 rounding is left
    np.testing.assert_allclose(deviation, [cell.std()], rtol=1e-5)


def test_equal_frames_and_a_constant_shift_have_no_pattern():
    shape = (2, 16, 16, 3)
    ramp = np.linspace(-0.5, 0.5, np.prod(shape))
    image = ramp.reshape(shape)
    still = phase_pattern(image, image)
    np.testing.assert_array_equal(still, 0)
    # 4 levels everywhere; a few values round differently, no phase more than others
    brighter = image + 4 / HALF
    shifted = phase_pattern(brighter, image)
    np.testing.assert_allclose(shifted, 0, atol=0.05)


def make_noise() -> jax.Array:
    """Noise of 12.75 levels, [1, 256, 256, 3] in [-1, 1]."""
    return 0.1 * jax.random.normal(jax.random.key(0), (1, 256, 256, 3))


def test_noise_without_a_pattern_falls_with_the_number_of_cells():
    noise = make_noise()
    base = np.zeros_like(noise)
    (deviation,) = phase_pattern(noise, base).tolist()
    # 12.75 levels over 12288 values per phase leave 0.115; sixteen phases know their
    # own deviation to a fifth
    assert deviation == pytest.approx(0.115, rel=0.5)


def test_a_limit_lowers_the_noise_of_content_and_keeps_a_weak_pattern():
    noise = make_noise()
    base = np.zeros_like(noise)
    (plain,) = phase_pattern(noise, base).tolist()
    (limited,) = phase_pattern(noise, base, limit=4.0).tolist()
    # values of 12.75 levels cut off at 4 deviate by 3.7: 0.3 of it, give or take 0.05
    assert limited < 0.5 * plain
    # 2 levels, below the limit, in one of sixteen phases
    grid = np.zeros((1, 256, 256, 3))
    grid[:, ::4, ::4] = 2 / HALF
    expected = phase_pattern(grid, base)
    flat = phase_pattern(grid, base, limit=4.0)
    # nothing is cut off: the same float32 sums
    np.testing.assert_allclose(flat, expected, rtol=1e-6)


def test_the_change_of_a_frame_is_in_levels():
    previous = np.full((1, 8, 8, 3), -1.0)
    current = previous.copy()
    # 10 levels in half of the frame
    current[:, :4] += 10 / HALF
    change = frame_change(current, previous)
    np.testing.assert_allclose(change, [5.0])


def test_a_jump_is_the_change_at_i_frames_over_that_elsewhere():
    levels = np.array([100, 102, 104, 110, 112, 109], np.uint8)
    row = np.broadcast_to(levels[:, None, None, None], (6, 4, 4, 3))
    intra = np.array([True, False, False, True, False, False])
    # changes 2 2 6 2 3: elsewhere 9 / 4
    expected = [np.nan, np.nan, np.nan, 6 / 2.25, np.nan, np.nan]
    ratios = jumps(row, intra)
    # changes are whole levels: float32's rounding of one quotient
    np.testing.assert_allclose(ratios, expected, rtol=1e-6)


@pytest.mark.parametrize("value", [False, True])
def test_without_both_kinds_of_frames_there_is_no_jump(value):
    row = np.zeros((3, 4, 4, 3), np.uint8)
    intra = np.full(3, value)
    assert np.isnan(jumps(row, intra)).all()
