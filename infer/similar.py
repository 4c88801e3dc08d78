"""Whether a frame is nearly the one before, so that its picture can be shown again."""

import numpy as np

from infer.frame import Frame

BLOCK = 8
# Two levels, and the rounding of their means.
NEARLY = 2.001 / 255


class Similar:
    """Recognises a frame that is nearly the one last upscaled.

    Nearly: in no block of 8x8 pixels do the means of any colour differ by more than
    2/255, so that something small that moves counts as a change while the noise of a
    still picture does not. The reference is the frame last upscaled and not the one
    before, because slow changes add up.
    """

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None

    def matches(self, frame: Frame) -> bool:
        """Returns whether the last result may be shown again.

        If not, this frame becomes the reference.
        """
        means = block_means(frame.rgb)
        if self._reference is not None and not frame.is_fresh:
            differences = np.abs(means - self._reference)
            if differences.max() <= NEARLY:
                return True
        self._reference = means
        return False


def block_means(rgb: np.ndarray) -> np.ndarray:
    """Returns the means of 8x8 blocks [rows, columns, 3], full scale = 1.

    Blocks at the right and lower edge may be smaller.
    """
    height, width, _ = rgb.shape
    tops = np.arange(0, height, BLOCK)
    lefts = np.arange(0, width, BLOCK)
    sums_of_rows = np.add.reduceat(rgb, tops, 0, dtype=np.float32)
    sums = np.add.reduceat(sums_of_rows, lefts, 1)
    heights = np.diff([*tops, height])
    widths = np.diff([*lefts, width])
    sizes = heights[:, None, None] * widths[:, None]
    full_scale = np.iinfo(rgb.dtype).max
    return sums / sizes / full_scale
