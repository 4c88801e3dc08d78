import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from sdvsr_jax.metrics.niqe import niqe

KODAK_05 = (
    Path(os.environ.get("SDVSR_SHARED", Path(__file__).parents[3] / "shared"))
    / "data/train/photos/kodim05.webp"
)


def score(image: Image.Image) -> float:
    return niqe(np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1)


@pytest.mark.skipif(
    not KODAK_05.exists(), reason=f"{KODAK_05} is not here (set SDVSR_SHARED)"
)
@pytest.mark.parametrize(
    ("blur", "expected"), [(0, 2.93), (1, 5.14), (2, 7.61), (4, 10.74)]
)
def test_agrees_with_basicsr_on_kodak_05(blur, expected):
    """Published values to two decimals, made with BasicSR's niqe.py."""
    image = Image.open(KODAK_05).convert("RGB")
    assert score(image.filter(ImageFilter.GaussianBlur(blur))) == pytest.approx(
        expected, abs=0.006
    )


def test_blur_and_noise_look_less_natural():
    photo = Image.fromarray(data.astronaut()[:288, :288])
    levels = np.asarray(photo) + 25 * np.random.default_rng(0).standard_normal(
        (288, 288, 3)
    )
    noisy = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    blurred = [
        score(photo.filter(ImageFilter.GaussianBlur(sigma))) for sigma in (0, 1, 3)
    ]
    assert blurred == sorted(blurred)
    assert score(noisy) > blurred[0] + 1


def test_flat_and_small_images():
    assert np.isnan(niqe(np.zeros((192, 96, 3))))
    with pytest.raises(ValueError, match="two blocks of 96x96"):
        niqe(np.zeros((191, 191, 3)))
