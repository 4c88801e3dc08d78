"""Clips that are evaluated, as 8-bit RGB arrays, and the reduction from HR to LR."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import ndimage

from infer.sources.files import read_frames
from infer.sources.probe import probe
from sdvsr_jax.metrics.luma import HALF, to_levels
from sdvsr_jax.ops.resize import downsample_bicubic

Size = tuple[int, int]
"""Height, width."""
MIN_LR_SIDE = 16
"""Smallest LR side that every network of the shipped models takes."""
SR_MARGIN = 8
"""An SR of an HR that `scale` does not divide may be larger by less than this."""
_downsample = jax.jit(downsample_bicubic, static_argnums=1)


class Clip(NamedTuple):
    """A clip with its ground truth and a finished result; uint8 RGB [f, H, W, 3]."""

    name: str
    hr: np.ndarray | None
    """None for a real clip without ground truth."""
    sr: np.ndarray | None
    """A finished result to judge, or None."""
    lr: np.ndarray
    """[f, h, w, 3]: the standard reduction of `hr`, or the real clip."""


def to_float(levels: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return levels.astype(np.float32) / HALF - 1


def to_uint8(image: ArrayLike) -> np.ndarray:
    """[-1, 1] -> uint8, rounded."""
    return np.asarray(to_levels(image)).astype(np.uint8)


def ping_pong(num_frames: int, length: int) -> np.ndarray:
    """Frame numbers of a clip played to and fro: 0, 1, ... n-1, ... 1, 0, 1, ..."""
    period = max(2 * (num_frames - 1), 1)
    position = np.arange(length) % period
    return np.minimum(position, period - position)


def read_clip(path: Path, num_frames: int = 0) -> np.ndarray:
    """The first `num_frames` (0: all) frames of a video or of a folder of images.

    Returns uint8 [f, h, w, 3]; deeper sources are rounded to 8 bit.
    """
    info = probe(str(path))
    source = read_frames(info, count=num_frames or None)
    frames = [frame.rgb for frame in source]
    if not frames:
        raise ValueError(f"{path}: no frames")
    clip = np.stack(frames)
    if clip.dtype == np.uint8:
        return clip
    # 32 bits hold 65535 * 255; half of the divisor rounds to the nearest level
    levels = clip.astype(np.uint32) * 255
    rounded = (levels + 32767) // 65535
    return rounded.astype(np.uint8)


def make_lr(hr: np.ndarray, scale: int, blur: float = 0.0) -> np.ndarray:
    """Antialiased bicubic (a = -0.5) of the 8-bit frames, rounded to 8 bit.

    Args:
      hr: uint8 [f, H, W, 3], sides divisible by `scale`.
      blur: sigma in HR pixels of a Gaussian that is applied before; 0 for none.
    """
    # frame by frame, so that one program serves clips of every length
    reduced = []
    for frame in hr:
        image = to_float(frame)
        if blur > 0:
            sigmas = (blur, blur, 0)
            image = ndimage.gaussian_filter(image, sigmas, mode="nearest")
        lr = _downsample(image[None], scale)
        reduced.append(to_uint8(lr))
    return np.concatenate(reduced)


def with_hr(
    path: Path, sr: Path | None, num_frames: int, scale: int, crop: Size | None = None
) -> Clip:
    """A clip with ground truth, cropped to a multiple of `scale` at right and bottom.

    Args:
      crop: HR size to keep instead, from the middle of the frame.
    """
    frames = read_clip(path, num_frames)
    if crop is not None:
        frames = _crop_middle(frames, crop, path)
    full_height, full_width = frames.shape[1:3]
    height = full_height // scale * scale
    width = full_width // scale * scale
    min_side = MIN_LR_SIDE * scale
    if min(height, width) < min_side:
        raise ValueError(
            f"{path}: HR of {full_width}x{full_height}, expected at least "
            f"{min_side} pixels a side"
        )
    hr = frames[:, :height, :width]
    result = None
    if sr is not None:
        result = _read_sr(sr, path, hr, num_frames)
    lr = make_lr(hr, scale)
    return Clip(path.stem, hr, result, lr)


def without_hr(path: Path, num_frames: int) -> Clip:
    """A real LR clip: its own frames are the input."""
    frames = read_clip(path, num_frames)
    return Clip(path.stem, hr=None, sr=None, lr=frames)


def _crop_middle(frames: np.ndarray, crop: Size, path: Path) -> np.ndarray:
    full_height, full_width = frames.shape[1:3]
    height, width = crop
    if height > full_height or width > full_width:
        raise ValueError(
            f"{path}: --crop {width}x{height} of an HR of {full_width}x{full_height}"
        )
    top = (full_height - height) // 2
    left = (full_width - width) // 2
    rows = slice(top, top + height)
    columns = slice(left, left + width)
    return frames[:, rows, columns]


def _read_sr(sr: Path, path: Path, hr: np.ndarray, num_frames: int) -> np.ndarray:
    result = read_clip(sr, num_frames)
    sr_length, sr_height, sr_width, _ = result.shape
    length, height, width, _ = hr.shape
    if sr_length != length:
        raise ValueError(
            f"{sr}: {sr_length} frames, but {path} has {length}; give the same clip "
            "(or --frames)"
        )
    fits_height = height <= sr_height < height + SR_MARGIN
    fits_width = width <= sr_width < width + SR_MARGIN
    if not (fits_height and fits_width):
        raise ValueError(
            f"{sr}: SR of {sr_width}x{sr_height}, expected {width}x{height} as the HR"
        )
    return result[:, :height, :width]
