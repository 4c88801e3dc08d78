"""What happens to video before people have it: optics, sensor, scaling, sharpening,
film, and lossy encoders.

`real` is the degradation of that name in `train.data.degrade`: 30 % of the windows stay
clean (bicubic, 8 bits); of the others each step has a probability of its own. Noise is
white in time, encoders have real group structures.
"""

import numpy as np
from PIL import Image, ImageFilter

from train.data.codec import any_settings, compress

CLEAN = 0.3
REDUCTIONS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
    Image.Resampling.HAMMING,
)
REDUCTION_SHARES = (0.5, 0.15, 0.15, 0.1, 0.1)


def real(frames: np.ndarray, rng: np.random.Generator, scale: int = 4) -> np.ndarray:
    """uint8[f,H,W,3] -> uint8[f,H/scale,W/scale,3]; one setting for the window, noise
    new in every frame.
    """
    size = frames.shape[1] // scale, frames.shape[2] // scale
    if rng.random() < CLEAN:
        return _resize(frames, size, Image.Resampling.BICUBIC)
    if rng.random() < 0.35:
        frames = blur(frames, rng)
    lr = reduce(frames, size, rng)
    if rng.random() < 0.12:
        lr = sharpen(lr, rng)
    if rng.random() < 0.45:
        lr = add_camera_noise(lr, rng)
    if rng.random() < 0.06:
        lr = add_film_damage(lr, rng)
    if rng.random() < 0.04:
        lr = add_banding(lr, rng)
    if rng.random() < 0.88:
        lr = encode(lr, rng)
    return lr


def blur(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur of deviation 0.5-4 HR pixels (small ones more often), in half of
    the cases not round.
    """
    first = 0.5 + 3.5 * rng.beta(1.2, 2)
    second = first * rng.uniform(0.4, 1) if rng.random() < 0.5 else first
    radii = (first, second) if rng.random() < 0.5 else (second, first)
    return np.stack(
        [
            np.asarray(Image.fromarray(f).filter(ImageFilter.GaussianBlur(radii)))
            for f in frames
        ]
    )


def reduce(
    frames: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """To the LR size by a random filter; one in five over another size first, as a
    second upload would.
    """
    if rng.random() < 0.2:
        factor = rng.uniform(1.2, 2.5)
        frames = _resize(
            frames, (round(size[0] * factor), round(size[1] * factor)), _reduction(rng)
        )
        if rng.random() < 0.5:
            frames = compress(_even(frames), any_settings(rng, min(size)))
    return _resize(frames, size, _reduction(rng))


def sharpen(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unsharp mask with visible halos, as cameras and players apply it."""
    mask = ImageFilter.UnsharpMask(
        float(rng.uniform(0.6, 2)), int(rng.uniform(30, 160)), 0
    )
    return np.stack([np.asarray(Image.fromarray(f).filter(mask)) for f in frames])


def add_camera_noise(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson-Gaussian noise, new in every frame; chroma up to twice as strong, half of
    it coarser than a pixel.
    """
    values = frames.astype(np.float32)
    strength = 1 + 15 * rng.beta(1.2, 2.2)
    photon_share = rng.uniform(0, 1)
    chroma = rng.uniform(0, 2)
    is_coarse = rng.random() < 0.3
    grey = values.mean(-1, keepdims=True)
    deviation = strength * np.sqrt((1 - photon_share) + photon_share * grey / 128)
    luma = rng.standard_normal(grey.shape, dtype=np.float32)
    colour = rng.standard_normal(values.shape, dtype=np.float32)
    colour -= colour.mean(-1, keepdims=True)
    noise = luma + chroma * colour
    if is_coarse:
        # denoising inside a camera leaves blotches: each value joined with its
        # neighbours, the power kept
        noise = (
            noise
            + np.roll(noise, 1, 1)
            + np.roll(noise, 1, 2)
            + np.roll(noise, (1, 1), (1, 2))
        ) / 2
    return _to_uint8(values + deviation * noise)


def add_film_damage(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Old film: coarse grain, vertical scratches that stay for some frames, dust that
    does not, often grey.
    """
    count, height, width = frames.shape[:3]
    values = frames.astype(np.float32)
    if rng.random() < 0.6:
        values = np.repeat(values.mean(-1, keepdims=True), 3, -1)
    grain = rng.standard_normal(
        (count, height // 2 + 1, width // 2 + 1, 1), dtype=np.float32
    )
    grain = grain.repeat(2, 1).repeat(2, 2)[:, :height, :width]
    values += rng.uniform(3, 14) * grain
    for _ in range(int(rng.integers(0, 4))):
        column, start = int(rng.integers(0, width)), int(rng.integers(0, count))
        values[start : start + int(rng.integers(1, 8)), :, column] += rng.choice(
            [-1, 1]
        ) * rng.uniform(20, 90)
    for frame in values:
        for _ in range(int(rng.poisson(1.5))):
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            frame[
                top : top + int(rng.integers(1, 4)),
                left : left + int(rng.integers(1, 4)),
            ] = rng.choice([10, 240])
    return _to_uint8(values)


def add_banding(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Five or six bits a channel."""
    step = float(rng.choice([4, 8]))
    return _to_uint8(np.rint(frames / step) * step)


def encode(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One lossy generation; for one window in seven a second one by another encoder."""
    smallest = min(frames.shape[1:3])
    for _ in range(2 if rng.random() < 0.15 else 1):
        frames = compress(frames, any_settings(rng, smallest))
    return frames


def _reduction(rng: np.random.Generator) -> Image.Resampling:
    return REDUCTIONS[rng.choice(len(REDUCTIONS), p=REDUCTION_SHARES)]


def _resize(
    frames: np.ndarray, size: tuple[int, int], method: Image.Resampling
) -> np.ndarray:
    return np.stack(
        [
            np.asarray(Image.fromarray(f).resize((size[1], size[0]), method))
            for f in frames
        ]
    )


def _even(frames: np.ndarray) -> np.ndarray:
    return frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
