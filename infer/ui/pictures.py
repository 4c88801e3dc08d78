"""From decoded frames to pictures that a browser shows."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from infer.sources.images import encode_png

PEAK = 1000.0
"""cd/m2 that become full white: what most HDR video is graded for."""
WHITE = 203.0
"""cd/m2 of diffuse white in HDR video (ITU-R BT.2408)."""
TO_BT709 = np.array(
    [
        [1.6605, -0.5876, -0.0728],
        [-0.1246, 1.1329, -0.0083],
        [-0.0182, -0.1006, 1.1187],
    ],
    np.float32,
)
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""
LUMA = np.array([65.481, 128.553, 24.966], np.float32) / 255
"""Of BT.601 in studio range without its black: what papers measure on."""
_BELL = np.exp(-0.5 * (np.arange(11) - 5) ** 2 / 1.5**2)
WINDOW = (_BELL / _BELL.sum()).astype(np.float32)
"""A Gaussian of sigma 1.5."""


def png(rgb: np.ndarray) -> bytes:
    """Returns the lossless picture of a frame, uint8 or uint16 [h, w, 3]."""
    return encode_png(np.ascontiguousarray(rgb))


def thumbnail(rgb: np.ndarray, width: int = 160) -> bytes:
    """Returns a small WebP picture of a frame."""
    full_height, full_width = rgb.shape[:2]
    height = max(1, round(full_height * width / full_width))
    picture = Image.fromarray(to_8_bit(rgb))
    small = picture.resize((width, height))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return file.getvalue()


def to_8_bit(rgb: np.ndarray) -> np.ndarray:
    """Returns a frame as uint8."""
    if rgb.dtype == np.uint8:
        return rgb
    # 65535 / 255 = 257, so this rounds to nearest
    levels = (rgb.astype(np.uint32) + 128) // 257
    return levels.astype(np.uint8)


def bicubic(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a frame at ``size`` (W, H) by Pillow's bicubic filter, in its type."""
    height, width = rgb.shape[:2]
    if (width, height) == size:
        return rgb
    if rgb.dtype == np.uint8:
        picture = Image.fromarray(rgb)
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    # Pillow has no RGB of 16 bit, but single planes of floats.
    planes = []
    for channel in range(3):
        values = rgb[..., channel].astype(np.float32)
        plane = Image.fromarray(values)
        enlarged = plane.resize(size, Image.Resampling.BICUBIC)
        planes.append(np.asarray(enlarged))
    image = np.stack(planes, axis=-1)
    # the filter overshoots at edges
    levels = np.clip(np.rint(image), 0, 65535)
    return levels.astype(np.uint16)


def tone_map(rgb: np.ndarray, kind: str) -> np.ndarray:
    """Returns an HDR frame (PQ or HLG, BT.2020) as 8 bit BT.709 for an ordinary screen.

    Light is scaled so that diffuse white (203 cd/m2) keeps 59 % of the screen's light
    and 1000 cd/m2 just reach white, by the extended Reinhard curve x (1 + x / p^2) /
    (1 + x) on the largest channel, which keeps hues; then BT.2020 becomes BT.709, and
    the screen's gamma of 2.4 is taken off.
    """
    top = 65535.0 if rgb.dtype == np.uint16 else 255.0
    signal = rgb.astype(np.float32) / top
    nits = _light_of_pq(signal) if kind == "PQ" else _light_of_hlg(signal)
    # puts diffuse white at 59 % of the light, which is 80 % of the signal
    exposure = 1.36
    light = nits / WHITE * exposure
    peak = PEAK / WHITE * exposure
    brightest = light.max(axis=-1, keepdims=True)
    # in black, 0 / 0
    largest = np.maximum(brightest, 1e-6)
    mapped = largest * (1 + largest / peak**2) / (1 + largest)
    light *= mapped / largest
    linear = light @ TO_BT709.T
    display = np.clip(linear, 0, 1) ** (1 / 2.4)
    return np.rint(display * 255).astype(np.uint8)


def _light_of_pq(signal: np.ndarray) -> np.ndarray:
    """The electro-optical transfer function of SMPTE ST 2084, in cd/m2."""
    m1 = 2610 / 16384
    m2 = 2523 / 4096 * 128
    c1 = 3424 / 4096
    c2 = 2413 / 4096 * 32
    c3 = 2392 / 4096 * 32
    root = signal ** (1 / m2)
    ratio = np.maximum(root - c1, 0) / (c2 - c3 * root)
    return 10000 * ratio ** (1 / m1)


def _light_of_hlg(signal: np.ndarray) -> np.ndarray:
    """The transfer function of ITU-R BT.2100 HLG with a screen of 1000 cd/m2."""
    a = 0.17883277
    b = 0.28466892
    c = 0.55991073
    bright = (np.exp((signal - c) / a) + b) / 12
    scene = np.where(signal <= 0.5, signal**2 / 3, bright)
    weights = np.array([0.2627, 0.6780, 0.0593], np.float32)
    luminance = (scene @ weights)[..., None]
    # the system gamma of 1.2, on the luminance alone, so that hues stay
    gain = np.maximum(luminance, 1e-6) ** 0.2
    return PEAK * gain * scene


def flicker(
    frames: Iterator[np.ndarray], start: tuple[float, float], end: tuple[float, float]
) -> np.ndarray:
    """Returns the pixels along a line in every frame, uint8 [frames, length, 3]: one
    row for each moment, so that flicker is seen as horizontal stripes.

    start, end: (x, y) from 0 to 1 of the picture.
    """
    rows = []
    for rgb in frames:
        height, width = rgb.shape[:2]
        corner = (width - 1, height - 1)
        first = np.array(start) * corner
        last = np.array(end) * corner
        way = last - first
        length = int(np.hypot(*way)) + 1
        share = np.linspace(0, 1, length)[:, None]
        points = np.rint(first + share * way)
        x, y = points.astype(int).T
        rows.append(to_8_bit(rgb[y, x]))
    return np.stack(rows)


def psnr(one: np.ndarray, other: np.ndarray) -> float | None:
    """Returns the peak signal-to-noise ratio of two 8 bit frames in dB; None if they
    are equal.
    """
    difference = one.astype(np.float32) - other
    error = float(np.mean(difference**2))
    if error == 0:
        return None
    ratio = 255**2 / error
    return float(10 * np.log10(ratio))


def ssim(one: np.ndarray, other: np.ndarray) -> float | None:
    """Returns the structural similarity (Wang et al. 2004) of the luma of two 8 bit
    frames, 1 for equal ones; None where the window of 11 x 11 does not fit in.
    """
    height, width, _ = one.shape
    if min(height, width) < len(WINDOW):
        return None
    # Covariances do not change with the origin, and near it keep more digits.
    x = one.astype(np.float32) @ LUMA - 112
    y = other.astype(np.float32) @ LUMA - 112
    mean_x = _blur(x)
    mean_y = _blur(y)
    variances = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    # 112 back, and the black of the studio range, which is 16
    mean_x += 128
    mean_y += 128
    low = (0.01 * 255) ** 2
    high = (0.03 * 255) ** 2
    squares = mean_x**2 + mean_y**2
    luminance = (2 * mean_x * mean_y + low) / (squares + low)
    structure = (2 * covariance + high) / (variances + high)
    return float(np.mean(luminance * structure))


def _blur(plane: np.ndarray) -> np.ndarray:
    """Returns the weighted means of all windows that fit in."""
    # along columns, then along rows: the Gaussian is a product of two
    for _ in range(2):
        height, width = plane.shape
        count = height - len(WINDOW) + 1
        total = np.zeros((count, width), np.float32)
        for place, weight in enumerate(WINDOW):
            total += weight * plane[place : place + count]
        plane = total.T
    return plane
