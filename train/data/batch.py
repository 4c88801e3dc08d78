"""The windows that a source yields, and the size of their HR frames."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

SCALE = 4

Clip = UInt8[np.ndarray, "f _ _ 3"]
"""Frames of a window, RGB."""
Picture = UInt8[np.ndarray, "_ _ 3"]


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded to whole levels, those outside the range cut off."""
    levels = np.rint(values)
    return np.clip(levels, 0, 255).astype(np.uint8)


class Batch(NamedTuple):
    """uint8 windows: `hr` [b,f,H,W,3] and `lr` [b,f,h,w,3].

    Without LR frames the device reduces the HR ones.
    """

    hr: UInt8[np.ndarray, "b f H W 3"]
    lr: UInt8[np.ndarray, "b f h w 3"] | None = None
