import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.ops.resize import downsample_bicubic
from tests.train.conftest import moving_texture
from train.data import blur, degrade
from train.data.codec import CodecSettings, compress, random_settings
from train.data.motion import moving_crops


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / (np.mean((a.astype(float) - b) ** 2) + 1e-6)))


def test_bicubic_is_the_package_downsample_at_8_bits():
    hr = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), np.uint8)
    ours = np.clip(np.rint(downsample_bicubic(jnp.asarray(hr, jnp.float32), 4)), 0, 255)
    # Pillow quantises after each of the two axes: at most 2 levels, mostly none
    difference = np.abs(ours - degrade.bicubic(hr).astype(float))
    assert difference.max() <= 2
    assert difference.mean() < 0.3


@pytest.mark.parametrize("seed", range(12))
def test_kernels_keep_the_mean_and_a_constant_image(seed):
    kernels = blur.random_kernels(np.random.default_rng(seed), (0.2, 3.0), 3)
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, rtol=1e-9)
    flat = np.full((3, 20, 24, 3), 77, np.uint8)
    np.testing.assert_array_equal(blur.filter_frames(flat, kernels), flat)


def test_filter_is_a_centred_convolution():
    frames = np.zeros((1, 15, 15, 3), np.uint8)
    frames[0, 7, 7] = 255
    kernel = np.random.default_rng(0).random((5, 5))
    kernel /= kernel.sum()
    response = blur.filter_frames(frames, kernel[None])[0, 5:10, 5:10, 0]
    np.testing.assert_allclose(response, np.rint(255 * kernel), atol=1)


def test_walk_stays_inside():
    path = blur.walk(np.random.default_rng(1), (0.2, 0.5), 0.1, 200)
    assert path.min() >= 0.2
    assert path.max() <= 0.5
    assert np.abs(np.diff(path)).max() <= 0.1 + 1e-12


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_codec_keeps_frames_and_crf_sets_strength(codec):
    frames = moving_texture(9, 33, 47)  # odd sizes
    fine, coarse = (
        compress(frames, CodecSettings(codec, crf=crf)) for crf in (18.0, 40.0)
    )
    assert fine.shape == coarse.shape == frames.shape
    assert psnr(fine, frames) > psnr(coarse, frames) + 3


def test_random_codecs_are_valid():
    for seed in range(8):
        frames = moving_texture(4, 32, 32)
        for settings in random_settings(np.random.default_rng(seed)):
            frames = compress(frames, settings)
        assert frames.shape == (4, 32, 32, 3)


@pytest.mark.parametrize("seed", range(6))
def test_blind_is_a_pure_function_of_its_generator(seed):
    hr = moving_texture(5, 128, 128)
    one, two = (degrade.blind(hr, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(one, two)


def test_blind_mixes_strengths():
    hr = moving_texture(3, 96, 96)
    plain = degrade.bicubic(hr)
    distances = [
        psnr(degrade.blind(hr, np.random.default_rng(s)), plain) for s in range(24)
    ]
    assert max(distances) > 35
    assert min(distances) < 28


def test_photo_moves_smoothly_and_shows_no_border():
    photo = np.maximum(
        moving_texture(1, 140, 180)[0], 40
    )  # a black border would be below 40
    for seed in range(10):
        crops = moving_crops(photo, 6, 96, np.random.default_rng(seed))
        assert crops.shape == (6, 96, 96, 3)
        assert crops.min() > 25
        np.testing.assert_array_equal(
            crops, moving_crops(photo, 6, 96, np.random.default_rng(seed))
        )
    moved = [
        np.abs(
            np.diff(
                moving_crops(photo, 3, 64, np.random.default_rng(s)).astype(int), axis=0
            )
        ).mean()
        for s in range(8)
    ]
    assert max(moved) > 1
