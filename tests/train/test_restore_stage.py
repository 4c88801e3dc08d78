"""Which windows teach the restorer to repair."""

import jax.numpy as jnp
import numpy as np
from PIL import Image

from tests.train.conftest import moving_texture
from train.data.batch import SCALE, Clip
from train.data.codec import any_settings, compress
from train.data.resize import resize
from train.frames import reduce_frames
from train.objectives import dirty_windows

OFFSET = 16
SIDE = 40


def dirty(lr: Clip, hr: Clip) -> bool:
    """Of the crop that a batch would hold; truth is reduced from the crop alone."""
    inside = slice(OFFSET, OFFSET + SIDE)
    hr_inside = slice(SCALE * OFFSET, SCALE * (OFFSET + SIDE))
    lr_crop = to_video(lr[:, inside, inside])
    hr_crop = to_video(hr[:, hr_inside, hr_inside])
    return bool(dirty_windows(lr_crop, reduce_frames(hr_crop))[0])


def to_video(frames: Clip) -> jnp.ndarray:
    values = frames[:, None].astype(np.float32)
    return jnp.asarray(values / 127.5 - 1)


def sharp_texture() -> Clip:
    """Four frames with detail of single pixels up to every border."""
    frames = moving_texture(4, 288, 288, seed=3)
    noise = np.random.default_rng(0).integers(-60, 60, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def test_a_crop_of_a_clean_frame_is_clean() -> None:
    hr = sharp_texture()
    lr = resize(hr, (72, 72), Image.Resampling.BICUBIC)
    # beyond its border a crop of the truth goes on otherwise than the frame did
    assert not dirty(lr, hr)


def test_an_encoded_crop_is_dirty() -> None:
    hr = sharp_texture()
    lr = resize(hr, (72, 72), Image.Resampling.BICUBIC)
    settings = any_settings(np.random.default_rng(0), 72)
    assert dirty(compress(lr, settings), hr)
