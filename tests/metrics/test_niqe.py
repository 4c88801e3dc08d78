import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from sdvsr_jax.metrics.luma import HALF
from sdvsr_jax.metrics.niqe import niqe

BESIDE = Path(__file__).parents[3] / "shared"
SHARED = Path(os.environ.get("SDVSR_SHARED", BESIDE))
KODAK_05 = SHARED / "data/train/photos/kodim05.webp"


def score(image: Image.Image) -> float:
    levels = np.asarray(image.convert("RGB"), np.float32)
    return niqe(levels / HALF - 1)


@pytest.mark.skipif(
    not KODAK_05.exists(), reason=f"{KODAK_05} is not here (set SDVSR_SHARED)"
)
@pytest.mark.parametrize(
    ("blur", "expected"), [(0, 2.93), (1, 5.14), (2, 7.61), (4, 10.74)]
)
def test_agrees_with_basicsr_on_kodak_05(blur, expected):
    """Published values to two decimals, made with BasicSR's niqe.py."""
    image = Image.open(KODAK_05).convert("RGB")
    soft = image.filter(ImageFilter.GaussianBlur(blur))
    # half of the last published decimal, and float64 sums in another order
    assert score(soft) == pytest.approx(expected, abs=0.006)


def test_blur_and_noise_look_less_natural():
    # nine blocks of 96x96, which the statistics are taken of
    pixels = data.astronaut()[:288, :288]
    photo = Image.fromarray(pixels)
    blurs = [ImageFilter.GaussianBlur(sigma) for sigma in (0, 1, 3)]
    scores = [score(photo.filter(blur)) for blur in blurs]
    assert scores == sorted(scores)
    rng = np.random.default_rng(0)
    # 25 levels: a tenth of the range
    noise = 25 * rng.standard_normal(pixels.shape)
    levels = np.clip(pixels + noise, 0, 255)
    noisy = Image.fromarray(levels.astype(np.uint8))
    # a step that anybody sees: the published scores of Kodak 05 are 2 apart
    assert score(noisy) > scores[0] + 1


def test_flat_and_small_images():
    flat = np.zeros((192, 96, 3))
    assert np.isnan(niqe(flat))
    # a row too few for a second block
    small = np.zeros((191, 191, 3))
    with pytest.raises(ValueError, match="two blocks of 96x96"):
        niqe(small)
