import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.ops.resize import downsample_bicubic
from tests.train.conftest import moving_texture
from train.data import blur, degrade
from train.data.codec import CodecSettings, compress, random_settings
from train.data.motion import moving_crops


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    difference = a.astype(float) - b
    # equal frames have a number as well: 108 dB
    error = np.mean(difference**2) + 1e-6
    return float(10 * np.log10(255**2 / error))


def test_bicubic_is_the_package_downsample_at_8_bits():
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (2, 32, 40, 3), np.uint8)
    reduced = downsample_bicubic(jnp.asarray(hr, jnp.float32), 4)
    ours = np.clip(np.rint(reduced), 0, 255)
    pillows = degrade.bicubic(hr).astype(float)
    difference = np.abs(ours - pillows)
    # Pillow quantises after each of the two axes: at most 2 levels, mostly none
    assert difference.max() <= 2
    assert difference.mean() < 0.3


@pytest.mark.parametrize("seed", range(12))
def test_kernels_keep_the_mean_and_a_constant_image(seed):
    rng = np.random.default_rng(seed)
    kernels = blur.random_kernels(rng, (0.2, 3.0), 3)
    # float64
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, rtol=1e-9)
    flat = np.full((3, 20, 24, 3), 77, np.uint8)
    np.testing.assert_array_equal(blur.filter_frames(flat, kernels), flat)


def test_filter_is_a_centred_convolution():
    frames = np.zeros((1, 15, 15, 3), np.uint8)
    frames[0, 7, 7] = 255
    rng = np.random.default_rng(0)
    kernel = rng.random((5, 5))
    kernel /= kernel.sum()
    output = blur.filter_frames(frames, kernel[None])
    response = output[0, 5:10, 5:10, 0]
    # halves are rounded up or down
    np.testing.assert_allclose(response, np.rint(255 * kernel), atol=1)


def test_walk_stays_inside():
    path = blur.walk(np.random.default_rng(1), (0.2, 0.5), 0.1, 200)
    assert path.min() >= 0.2
    assert path.max() <= 0.5
    steps = np.abs(np.diff(path))
    # a difference of two float64 numbers is rounded
    assert steps.max() <= 0.1 + 1e-12


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_codec_keeps_frames_and_crf_sets_strength(codec):
    # sides that the codecs' 4:2:0 cannot have
    frames = moving_texture(9, 33, 47)
    fine = compress(frames, CodecSettings(codec, crf=18.0))
    coarse = compress(frames, CodecSettings(codec, crf=40.0))
    assert fine.shape == frames.shape
    assert coarse.shape == frames.shape
    # 22 steps of a CRF: half the error at the least
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
    first = degrade.blind(hr, np.random.default_rng(seed))
    again = degrade.blind(hr, np.random.default_rng(seed))
    assert first.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(first, again)


def test_blind_mixes_strengths():
    hr = moving_texture(3, 96, 96)
    plain = degrade.bicubic(hr)
    generators = [np.random.default_rng(seed) for seed in range(24)]
    distances = [psnr(degrade.blind(hr, rng), plain) for rng in generators]
    # nearly nothing, and blocks or noise that anybody sees
    assert max(distances) > 35
    assert min(distances) < 28


def test_photo_moves_smoothly_and_shows_no_border():
    (texture,) = moving_texture(1, 140, 180)
    # a black border would be below 40
    photo = np.maximum(texture, 40)

    def crops_of(seed: int, frames: int, side: int) -> np.ndarray:
        return moving_crops(photo, frames, side, np.random.default_rng(seed))

    for seed in range(10):
        crops = crops_of(seed, 6, 96)
        assert crops.shape == (6, 96, 96, 3)
        # an interpolation overshoots
        assert crops.min() > 25
        np.testing.assert_array_equal(crops, crops_of(seed, 6, 96))
    changes = []
    for seed in range(8):
        crops = crops_of(seed, 3, 64).astype(int)
        change = np.abs(np.diff(crops, axis=0))
        changes.append(change.mean())
    # one at least moves by more than rounding does
    assert max(changes) > 1
