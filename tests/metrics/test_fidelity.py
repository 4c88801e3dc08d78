import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sdvsr_jax.metrics.agreement import colour_shift, lr_consistency
from sdvsr_jax.metrics.fidelity import psnr_y, ssim_y
from sdvsr_jax.metrics.luma import HALF, luma, to_levels
from sdvsr_jax.ops.resize import downsample_bicubic

psnr = jax.jit(psnr_y, static_argnames="border")
ssim = jax.jit(ssim_y, static_argnames="border")


def images(seed: int, noise: float, shape=(2, 37, 46, 3)):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.9, 0.9, shape).astype(np.float32)
    noisy = x + noise * rng.standard_normal(shape)
    y = np.clip(noisy, -1, 1)
    return x, y.astype(np.float32)


def inner_luma(image, border=4):
    values = np.asarray(luma(image), np.float64)
    return values[border:-border, border:-border]


def test_luma_is_matlabs_rgb2ycbcr():
    # the corners of the RGB cube in MATLAB's documentation of rgb2ycbcr: black 16,
    # white 235
    corners = [[-1, -1, -1], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    expected = [16, 235, 81.481, 144.553, 40.966]
    # 1e-3: the documented values have three decimals
    np.testing.assert_allclose(luma(np.float32(corners)), expected, atol=1e-3)


# each example runs outside of a compiled program: 30 of the 256 levels are enough
@given(st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_every_8_bit_level_survives_the_way_through_floats(level):
    value = np.float32(level / HALF - 1)
    assert to_levels(value) == level
    beyond = np.float32(2)
    assert to_levels(beyond) == 255


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_both_agree_with_scikit_image(noise):
    x, y = images(1, noise)
    for number in range(2):
        luma_x = inner_luma(x[number])
        luma_y = inner_luma(y[number])
        expected_psnr = peak_signal_noise_ratio(luma_x, luma_y, data_range=255)
        expected_ssim = structural_similarity(
            luma_x,
            luma_y,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        # ours sums in float32, theirs in float64
        np.testing.assert_allclose(psnr(x, y)[number], expected_psnr, atol=1e-3)
        np.testing.assert_allclose(ssim(x, y)[number], expected_ssim, atol=1e-5)


def test_equal_images_are_perfect_and_the_border_does_not_count():
    x, _ = images(2, 0)
    framed = x.copy()
    framed[:, :4] = 1
    framed[:, :, -4:] = -1
    inner_psnr = psnr(x, framed)
    assert np.all(np.isposinf(inner_psnr))
    inner_ssim = ssim(x, framed)
    # float32's rounding of a mean of ones
    np.testing.assert_allclose(inner_ssim, 1, atol=1e-6)
    whole_psnr = psnr(x, framed, border=0)
    # a fifth of the pixels is wrong by half the range: below 15 dB
    assert np.all(whole_psnr < 15)


def test_too_small_images_are_refused():
    x, y = images(3, 0.1, (1, 18, 40, 3))
    with pytest.raises(ValueError, match="SSIM needs 11x11"):
        ssim(x, y)
    with pytest.raises(ValueError, match="nothing left"):
        psnr(x, y, border=9)


def test_lr_consistency_is_limited_by_the_rounding_of_lr_alone():
    def rounded(image):
        return np.asarray(to_levels(image)) / HALF - 1

    _, noisy = images(4, 0.02, (1, 64, 64, 3))
    hr = rounded(noisy)
    reduced = downsample_bicubic(jnp.asarray(hr), 4)
    lr = rounded(reduced)
    # uniform rounding error: variance 1/12 of a level, 10 log10(255^2 * 12) = 58.9 dB;
    # 768 values know their variance to 0.2 dB
    np.testing.assert_allclose(lr_consistency(hr, lr), 58.9, atol=0.7)
    brighter = hr + 4 / HALF
    expected = 20 * np.log10(255 / 4)
    # the rounding adds a two hundredth to the square of 4 levels: 0.02 dB
    np.testing.assert_allclose(lr_consistency(brighter, lr), expected, atol=0.2)


def test_colour_shift_finds_the_channel_that_moved():
    x, _ = images(5, 0, (1, 24, 24, 3))
    levels = np.array([0, 3, -1], np.float32)
    other = x + levels / HALF
    shift = colour_shift(other, x)
    # some values round to another level
    np.testing.assert_allclose(shift, 3, atol=0.05)
