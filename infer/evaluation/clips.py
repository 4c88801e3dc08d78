"""What is evaluated: clips as 8-bit RGB arrays, and the LR made from HR in the standard
way.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from infer.sources.files import read_frames
from infer.sources.probe import probe
from sdvsr_jax.metrics.luma import to_levels
from sdvsr_jax.ops.resize import downsample_bicubic


class Clip(NamedTuple):
    """uint8 RGB [f, h, w, 3] (LR) and [f, H, W, 3]; `hr` is None for a clip without
    ground truth.
    """

    name: str
    lr: np.ndarray
    hr: np.ndarray | None
    sr: np.ndarray | None


def to_float(levels: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return levels.astype(np.float32) / 127.5 - 1


def to_uint8(image: ArrayLike) -> np.ndarray:
    """[-1, 1] -> uint8, rounded."""
    return np.asarray(to_levels(image)).astype(np.uint8)


def read_clip(path: Path, num_frames: int = 0) -> np.ndarray:
    """The first `num_frames` (0: all) frames of a video or of a folder of images, uint8
    [f, h, w, 3].
    """
    info = probe(str(path))
    frames = [frame.rgb for frame in read_frames(info, count=num_frames or None)]
    if not frames:
        raise ValueError(f"{path}: no frames")
    clip = np.stack(frames)
    return (
        clip
        if clip.dtype == np.uint8
        else ((clip.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    )


def make_lr(hr: np.ndarray, scale: int) -> np.ndarray:
    """Antialiased bicubic (a = -0.5) of the 8-bit frames, rounded to 8 bit."""
    down = jax.jit(downsample_bicubic, static_argnums=1)
    return np.concatenate(
        [to_uint8(down(to_float(frame[None]), scale)) for frame in hr]
    )


def with_hr(path: Path, sr: Path | None, num_frames: int, scale: int) -> Clip:
    """A clip with ground truth, cropped at the right and bottom to a multiple of
    `scale`.
    """
    hr = read_clip(path, num_frames)
    height, width = (size // scale * scale for size in hr.shape[1:3])
    if min(height, width) < 16 * scale:
        raise ValueError(
            f"{path}: HR of {hr.shape[2]}x{hr.shape[1]}, expected at least {16 * scale} pixels a side"
        )
    hr = hr[:, :height, :width]
    given = None if sr is None else read_clip(sr, num_frames)
    if given is not None and given.shape[0] != len(hr):
        raise ValueError(
            f"{sr}: {len(given)} frames, but {path} has {len(hr)}; give the same clip (or --frames)"
        )
    if given is not None:
        given = _crop_to(given, height, width, sr)
    return Clip(path.stem, make_lr(hr, scale), hr, given)


def _crop_to(
    clip: np.ndarray, height: int, width: int, path: Path | None
) -> np.ndarray:
    found_height, found_width = clip.shape[1:3]
    # an HR size that `scale` does not divide is cropped; its SR may or may not be
    if not (height <= found_height < height + 8 and width <= found_width < width + 8):
        raise ValueError(
            f"{path}: SR of {found_width}x{found_height}, expected {width}x{height} as the HR"
        )
    return clip[:, :height, :width]


def without_hr(path: Path, num_frames: int) -> Clip:
    """A real LR clip: its own frames are the input."""
    return Clip(path.stem, read_clip(path, num_frames), None, None)
