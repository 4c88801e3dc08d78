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

from train.data.blur import filter_frames, random_kernels, sinc_kernel, walk
from train.data.codec import compress, random_settings
from train.data.real import real

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


FIRST = PassStrength(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3))
SECOND = PassStrength(
    0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5)
)


def bicubic(frames: np.ndarray, scale: int = 4) -> np.ndarray:
    """uint8[f,H,W,3] -> uint8[f,H/scale,W/scale,3]."""
    return resize(
        frames,
        (frames.shape[1] // scale, frames.shape[2] // scale),
        Image.Resampling.BICUBIC,
    )


def _bicubic(
    frames: np.ndarray, rng: np.random.Generator, scale: int = 4
) -> np.ndarray:
    del rng
    return bicubic(frames, scale)


def resize(
    frames: np.ndarray, size: tuple[int, int], method: Image.Resampling
) -> np.ndarray:
    """uint8[f,h,w,3] -> uint8[f,*size,3], antialiased."""
    return np.stack(
        [
            np.asarray(Image.fromarray(f).resize((size[1], size[0]), method))
            for f in frames
        ]
    )


def context_frames(rng: np.random.Generator, kind: str = "blind") -> tuple[int, int]:
    """(frames to add to the window before encoding, those of them that come first)."""
    extra = int(rng.integers(CONTEXT[kind], 2 * CONTEXT[kind] + 1))
    return extra, int(rng.integers(0, extra + 1))


def blind(frames: np.ndarray, rng: np.random.Generator, scale: int = 4) -> np.ndarray:
    """uint8[f,H,W,3] -> uint8[f,H/scale,W/scale,3]; all frames share the drawn
    settings, which walk slowly.
    """
    size = frames.shape[1] // scale, frames.shape[2] // scale
    passes = int(rng.choice([0, 1, 2], p=[0.3, 0.35, 0.35]))
    lr = frames
    for strength in (FIRST, SECOND)[:passes]:
        lr = degrade_once(lr, rng, strength, base=frames.shape[1:3])
    steps = [lambda x: _finish(x, rng, size, sharpen=passes == 2)]
    if rng.random() < 0.7:
        settings = random_settings(rng)
        # encoded at the final size, or before the last reduction as a player that
        # downscales would show it
        if passes < 2 or rng.random() < 0.5:
            steps.append(lambda x: _encode(x, settings))
        else:
            steps.insert(0, lambda x: _encode(_limit(x, 2 * size[0]), settings))
    for step in steps:
        lr = step(lr)
    return lr


def degrade_once(
    frames: np.ndarray,
    rng: np.random.Generator,
    strength: PassStrength,
    base: tuple[int, int],
) -> np.ndarray:
    """Blur, resize by a random factor of `base`, noise, JPEG. uint8[f,h,w,3] ->
    uint8[f,h',w',3].
    """
    count = len(frames)
    if rng.random() < strength.blur:
        frames = filter_frames(frames, random_kernels(rng, strength.sigma, count))
    up, down, _ = strength.resize
    pick = rng.random()
    if pick < up:
        factor = rng.uniform(1, strength.scale[1])
    else:
        factor = rng.uniform(strength.scale[0], 1) if pick < up + down else 1.0
    # the second pass scales what the first left; never below the final size over two,
    # where nothing would survive
    sides = [
        max(int(side * factor), other // 8)
        for side, other in zip(frames.shape[1:3], base)
    ]
    frames = resize(
        frames, (sides[0] // 2 * 2, sides[1] // 2 * 2), FILTERS[rng.integers(3)]
    )
    return add_jpeg(add_noise(frames, rng, strength), rng)


def add_noise(
    frames: np.ndarray, rng: np.random.Generator, strength: PassStrength
) -> np.ndarray:
    """Gaussian (sigma of 255) or Poisson noise, half each; grey (one value for R, G and
    B) in 40 %.
    """
    channels = 1 if rng.random() < 0.4 else 3
    shape = (*frames.shape[:3], channels)
    values = frames.astype(np.float32)
    if rng.random() < 0.5:
        sigma = walk(rng, strength.noise, 0.1, len(frames))[:, None, None, None]
        noise = rng.standard_normal(shape, dtype=np.float32) * sigma
    else:
        scale = walk(rng, strength.poisson, 0.005, len(frames))[:, None, None, None]
        source = values if channels == 3 else values.mean(-1, keepdims=True)
        # 255 grey levels as photon counts: deviation sqrt(value), times the strength
        noise = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(source) * scale
    return np.clip(np.rint(values + noise), 0, 255).astype(np.uint8)


def add_jpeg(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG of quality 30-95, walking by at most 3 per frame."""
    qualities = walk(rng, (30, 95), 3, len(frames))
    out = []
    for frame, quality in zip(frames, qualities):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=int(quality))
        out.append(np.asarray(Image.open(buffer)))
    return np.stack(out)


def _finish(
    frames: np.ndarray, rng: np.random.Generator, size: tuple[int, int], sharpen: bool
) -> np.ndarray:
    frames = resize(
        frames, size, FILTERS[rng.integers(3)] if sharpen else Image.Resampling.BICUBIC
    )
    if sharpen and rng.random() < 0.8:
        kernel = sinc_kernel(
            int(rng.choice(np.arange(7, 22, 2))), rng.uniform(np.pi / 3, np.pi)
        )
        frames = filter_frames(frames, np.repeat(kernel[None], len(frames), 0))
    return frames


def _limit(frames: np.ndarray, height: int) -> np.ndarray:
    if frames.shape[1] <= height:
        return frames
    width = round(frames.shape[2] * height / frames.shape[1])
    return resize(frames, (height, width), Image.Resampling.BICUBIC)


def _encode(frames: np.ndarray, settings: list) -> np.ndarray:
    for one in settings:
        frames = compress(frames, one)
    return frames


KINDS = {"bicubic": _bicubic, "blind": blind, "real": real}
"""By the name in `DataConfig.degradation`."""
