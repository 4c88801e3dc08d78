"""HR window -> LR window, uint8 to uint8, as a pure function of the generator it is
given.

`bicubic` is the benchmarks' antialiased reduction (Pillow's, the 8-bit form of
`resize.downsample_bicubic`). `blind` mixes plain bicubic (30 %), one pass (35 %) and
two passes (35 %) of blur, resize, noise and JPEG, then a real video encoder for 70 % of
the windows: RealBasicVSR's scheme (Chan et al., CVPR 2022) with strength set by CRF.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from train.data.batch import Clip, to_uint8
from train.data.blur import (
    filter_frames,
    random_kernels,
    random_sinc,
    random_size,
    walk,
)
from train.data.codec import compress, random_settings
from train.data.real import real
from train.data.resize import resize

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BOX, Image.Resampling.BICUBIC)
CONTEXT = {"blind": 12, "real": 6}
"""Frames encoded beyond the window at least; up to twice as many, so that I/P/B phase
varies at frame 0.
"""


@dataclass(frozen=True)
class PassStrength:
    """Ranges of one pass; `resize` holds the probabilities of up, down and keep."""

    blur: float
    sigma: tuple[float, float]
    resize: tuple[float, float, float]
    scale: tuple[float, float]
    noise: tuple[float, float]
    poisson: tuple[float, float]


# Both passes have Real-ESRGAN's ranges.
FIRST = PassStrength(
    blur=1.0,
    sigma=(0.2, 3.0),
    resize=(0.2, 0.7, 0.1),
    scale=(0.15, 1.5),
    noise=(1.0, 30.0),
    poisson=(0.05, 3.0),
)
SECOND = PassStrength(
    blur=0.8,
    sigma=(0.2, 1.5),
    resize=(0.3, 0.4, 0.3),
    scale=(0.3, 1.2),
    noise=(1.0, 25.0),
    poisson=(0.05, 2.5),
)


def bicubic(frames: Clip, scale: int = 4) -> Clip:
    """uint8[f,H,W,3] -> uint8[f,H/scale,W/scale,3]."""
    _, height, width, _ = frames.shape
    size = (height // scale, width // scale)
    return resize(frames, size, Image.Resampling.BICUBIC)


def _bicubic(frames: Clip, rng: np.random.Generator, scale: int = 4) -> Clip:
    del rng
    return bicubic(frames, scale)


def context_frames(rng: np.random.Generator, kind: str = "blind") -> tuple[int, int]:
    """(frames to add to the window before encoding, those of them that come first)."""
    least = CONTEXT[kind]
    extra = int(rng.integers(least, 2 * least + 1))
    before = int(rng.integers(0, extra + 1))
    return extra, before


def blind(frames: Clip, rng: np.random.Generator, scale: int = 4) -> Clip:
    """uint8[f,H,W,3] -> uint8[f,H/scale,W/scale,3]; all frames share the drawn
    settings, which walk slowly.
    """
    _, height, width, _ = frames.shape
    size = (height // scale, width // scale)
    shares = [0.3, 0.35, 0.35]
    passes = int(rng.choice([0, 1, 2], p=shares))
    lr = frames
    for strength in (FIRST, SECOND)[:passes]:
        lr = degrade_once(lr, rng, strength, base=(height, width))
    is_sharpened = passes == 2
    is_encoded = rng.random() < 0.7
    if not is_encoded:
        return _finish(lr, rng, size, is_sharpened)
    settings = random_settings(rng)
    # encoded at the final size, or before the last reduction as a player that
    # downscales would show it
    if passes < 2 or rng.random() < 0.5:
        lr = _finish(lr, rng, size, is_sharpened)
        return _encode(lr, settings)
    lr_height, _ = size
    lr = _limit(lr, 2 * lr_height)
    lr = _encode(lr, settings)
    return _finish(lr, rng, size, is_sharpened)


def degrade_once(
    frames: Clip,
    rng: np.random.Generator,
    strength: PassStrength,
    base: tuple[int, int],
) -> Clip:
    """Blur, resize by a random factor of `base`, noise, JPEG. uint8[f,h,w,3] ->
    uint8[f,h',w',3].
    """
    count = len(frames)
    if rng.random() < strength.blur:
        kernels = random_kernels(rng, strength.sigma, count)
        frames = filter_frames(frames, kernels)
    factor = _factor(rng, strength)
    sides = []
    for side, base_side in zip(frames.shape[1:3], base):
        # the second pass scales the result of the first; never below the final size
        # over two, where nothing would survive
        side = max(int(side * factor), base_side // 8)
        sides.append(side // 2 * 2)
    height, width = sides
    frames = resize(frames, (height, width), _filter(rng))
    frames = add_noise(frames, rng, strength)
    return add_jpeg(frames, rng)


def _filter(rng: np.random.Generator) -> Image.Resampling:
    number = rng.integers(len(FILTERS))
    return FILTERS[number]


def _factor(rng: np.random.Generator, strength: PassStrength) -> float:
    up, down, _ = strength.resize
    smallest, largest = strength.scale
    pick = rng.random()
    if pick < up:
        return rng.uniform(1, largest)
    if pick < up + down:
        return rng.uniform(smallest, 1)
    return 1.0


def add_noise(frames: Clip, rng: np.random.Generator, strength: PassStrength) -> Clip:
    """Gaussian (sigma of 255) or Poisson noise, half each; grey (one value for R, G and
    B) in 40 %.
    """
    channels = 1 if rng.random() < 0.4 else 3
    count, height, width, _ = frames.shape
    shape = (count, height, width, channels)
    values = frames.astype(np.float32)
    if rng.random() < 0.5:
        sigmas = walk(rng, strength.noise, 0.1, count)
        normal = rng.standard_normal(shape, dtype=np.float32)
        of_frame = sigmas[:, None, None, None]
        noise = normal * of_frame
    else:
        scales = walk(rng, strength.poisson, 0.005, count)
        source = values
        if channels == 1:
            source = values.mean(-1, keepdims=True)
        normal = rng.standard_normal(shape, dtype=np.float32)
        of_frame = scales[:, None, None, None]
        # 255 grey levels as photon counts: deviation sqrt(value), times the strength
        deviation = np.sqrt(source)
        noise = normal * deviation * of_frame
    # a single channel is added to all three
    return to_uint8(values + noise)


def add_jpeg(frames: Clip, rng: np.random.Generator) -> Clip:
    """JPEG of quality 30-95, walking by at most 3 per frame."""
    qualities = walk(rng, (30.0, 95.0), 3.0, len(frames))
    pictures = []
    for frame, quality in zip(frames, qualities):
        buffer = io.BytesIO()
        picture = Image.fromarray(frame)
        picture.save(buffer, "JPEG", quality=int(quality))
        decoded = Image.open(buffer)
        pictures.append(np.asarray(decoded))
    return np.stack(pictures)


def _finish(
    frames: Clip, rng: np.random.Generator, size: tuple[int, int], sharpen: bool
) -> Clip:
    """Reduces to the LR size; ``sharpen``: by any filter, mostly with a ringing one
    behind it.
    """
    if not sharpen:
        return resize(frames, size, Image.Resampling.BICUBIC)
    frames = resize(frames, size, _filter(rng))
    if rng.random() < 0.8:
        kernel_size = random_size(rng)
        kernels = random_sinc(rng, kernel_size, len(frames))
        frames = filter_frames(frames, kernels)
    return frames


def _limit(frames: Clip, limit: int) -> Clip:
    """Frames at most ``limit`` pixels high, in their aspect."""
    _, height, width, _ = frames.shape
    if height <= limit:
        return frames
    limited_width = round(width * limit / height)
    return resize(frames, (limit, limited_width), Image.Resampling.BICUBIC)


def _encode(frames: Clip, settings: list) -> Clip:
    for one in settings:
        frames = compress(frames, one)
    return frames


KINDS = {"bicubic": _bicubic, "blind": blind, "real": real}
"""By the name in `DataConfig.degradation`."""
