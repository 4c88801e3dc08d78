"""The windows that a source yields, and the size of their HR frames."""

from typing import NamedTuple

import numpy as np

SCALE = 4


class Batch(NamedTuple):
    """uint8 windows: `hr` [b,f,H,W,3] and `lr` [b,f,h,w,3].

    Without LR frames the device reduces the HR ones.
    """

    hr: np.ndarray
    lr: np.ndarray | None = None
