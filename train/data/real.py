"""The way of a video to the people who have it: optics, sensor, scaling, sharpening,
film, and lossy encoders.

`real` is the degradation of that name in `train.data.degrade`: 30 % of the windows stay
clean (bicubic, 8 bits); of the others each step has a probability of its own. Noise is
white in time, encoders have real group structures.
"""

import numpy as np
from PIL import Image, ImageFilter

from train.data.batch import Clip, to_uint8
from train.data.codec import any_settings, compress
from train.data.resize import resize

CLEAN = 0.3
REDUCTIONS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
    Image.Resampling.HAMMING,
)
REDUCTION_SHARES = (0.5, 0.15, 0.15, 0.1, 0.1)


def real(frames: Clip, rng: np.random.Generator, scale: int = 4) -> Clip:
    """uint8[f,H,W,3] -> uint8[f,H/scale,W/scale,3]; one setting for the window, noise
    new in every frame.
    """
    _, hr_height, hr_width, _ = frames.shape
    size = (hr_height // scale, hr_width // scale)
    if rng.random() < CLEAN:
        return resize(frames, size, Image.Resampling.BICUBIC)
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


def blur(frames: Clip, rng: np.random.Generator) -> Clip:
    """Gaussian blur of deviation 0.5-4 HR pixels (small ones more often), in half of
    the cases not round.
    """
    share = rng.beta(1.2, 2)
    first = 0.5 + 3.5 * share
    second = first
    if rng.random() < 0.5:
        second = first * rng.uniform(0.4, 1)
    radii = (first, second)
    if rng.random() >= 0.5:
        radii = (second, first)
    kernel = ImageFilter.GaussianBlur(radii)
    return _filter(frames, kernel)


def _filter(frames: Clip, kernel: ImageFilter.Filter) -> Clip:
    pictures = []
    for frame in frames:
        picture = Image.fromarray(frame)
        filtered = picture.filter(kernel)
        pictures.append(np.asarray(filtered))
    return np.stack(pictures)


def reduce(frames: Clip, size: tuple[int, int], rng: np.random.Generator) -> Clip:
    """To the LR size by a random filter; one in five over another size first, as a
    second upload would.
    """
    height, width = size
    if rng.random() < 0.2:
        factor = rng.uniform(1.2, 2.5)
        first_height = round(height * factor)
        first_width = round(width * factor)
        first_kernel = _reduction(rng)
        frames = resize(frames, (first_height, first_width), first_kernel)
        if rng.random() < 0.5:
            frames = _even(frames)
            settings = any_settings(rng, min(size))
            frames = compress(frames, settings)
    kernel = _reduction(rng)
    return resize(frames, size, kernel)


def sharpen(frames: Clip, rng: np.random.Generator) -> Clip:
    """Unsharp mask with visible halos, as cameras and players apply it."""
    radius = float(rng.uniform(0.6, 2))
    percent = int(rng.uniform(30, 160))
    mask = ImageFilter.UnsharpMask(radius, percent, 0)
    return _filter(frames, mask)


def add_camera_noise(frames: Clip, rng: np.random.Generator) -> Clip:
    """Poisson-Gaussian noise, new in every frame; chroma up to twice as strong, half of
    it coarser than a pixel.
    """
    values = frames.astype(np.float32)
    # small ones more often
    share = rng.beta(1.2, 2.2)
    strength = 1 + 15 * share
    photon_share = rng.uniform(0, 1)
    chroma = rng.uniform(0, 2)
    is_coarse = rng.random() < 0.3
    grey = values.mean(-1, keepdims=True)
    # photon noise grows with the root of the light; the two shares are equal at 128
    constant_share = 1 - photon_share
    variance = constant_share + photon_share * grey / 128
    deviation = strength * np.sqrt(variance)
    luma = rng.standard_normal(grey.shape, dtype=np.float32)
    colour = rng.standard_normal(values.shape, dtype=np.float32)
    # what the three channels share is luma, which has a strength of its own
    colour -= colour.mean(-1, keepdims=True)
    noise = luma + chroma * colour
    if is_coarse:
        # denoising inside a camera leaves blotches: each value joined with its
        # neighbours, the power kept
        above = np.roll(noise, 1, 1)
        beside = np.roll(noise, 1, 2)
        diagonal = np.roll(noise, (1, 1), (1, 2))
        total = noise + above + beside + diagonal
        noise = total / 2
    noisy = values + deviation * noise
    return to_uint8(noisy)


def add_film_damage(frames: Clip, rng: np.random.Generator) -> Clip:
    """Old film: coarse grain, vertical scratches that stay for some frames, dust that
    does not, often grey.
    """
    count, height, width, _ = frames.shape
    values = frames.astype(np.float32)
    if rng.random() < 0.6:
        grey = values.mean(-1, keepdims=True)
        values = np.repeat(grey, 3, -1)
    # a grain covers two by two pixels; one more for an odd side
    rows = height // 2 + 1
    columns = width // 2 + 1
    grain = rng.standard_normal((count, rows, columns, 1), dtype=np.float32)
    grain = grain.repeat(2, 1)
    grain = grain.repeat(2, 2)
    strength = rng.uniform(3, 14)
    values += strength * grain[:, :height, :width]
    num_scratches = int(rng.integers(0, 4))
    for _ in range(num_scratches):
        _scratch(values, rng)
    for frame in values:
        num_specks = int(rng.poisson(1.5))
        for _ in range(num_specks):
            _put_dust(frame, rng)
    return to_uint8(values)


def _scratch(values: np.ndarray, rng: np.random.Generator) -> None:
    """A column, lighter or darker for some frames."""
    count, _, width, _ = values.shape
    column = int(rng.integers(0, width))
    first = int(rng.integers(0, count))
    duration = int(rng.integers(1, 8))
    end = first + duration
    sign = rng.choice([-1, 1])
    contrast = rng.uniform(20, 90)
    values[first:end, :, column] += sign * contrast


def _put_dust(frame: np.ndarray, rng: np.random.Generator) -> None:
    """A black or white speck of up to three by three pixels."""
    height, width, _ = frame.shape
    top = int(rng.integers(0, height))
    left = int(rng.integers(0, width))
    level = rng.choice([10, 240])
    rows = int(rng.integers(1, 4))
    columns = int(rng.integers(1, 4))
    frame[top : top + rows, left : left + columns] = level


def add_banding(frames: Clip, rng: np.random.Generator) -> Clip:
    """Five or six bits a channel."""
    # 256 levels are 64 or 32 steps
    step = float(rng.choice([4, 8]))
    number = np.rint(frames / step)
    return to_uint8(number * step)


def encode(frames: Clip, rng: np.random.Generator) -> Clip:
    """One lossy generation; for one window in seven a second one by another encoder."""
    _, height, width, _ = frames.shape
    smallest = min(height, width)
    generations = 2 if rng.random() < 0.15 else 1
    for _ in range(generations):
        settings = any_settings(rng, smallest)
        frames = compress(frames, settings)
    return frames


def _reduction(rng: np.random.Generator) -> Image.Resampling:
    number = rng.choice(len(REDUCTIONS), p=REDUCTION_SHARES)
    return REDUCTIONS[number]


def _even(frames: Clip) -> Clip:
    """Without an odd last row or column, which some encoders refuse."""
    _, height, width, _ = frames.shape
    even_height = height // 2 * 2
    even_width = width // 2 * 2
    return frames[:, :even_height, :even_width]
