"""The one frame that travels through `infer`, and the two ends of its way."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    # Sources are looked at before jax is imported, which takes a second.
    from sdvsr_jax.state import StreamState
    from sdvsr_jax.types import Array


class Frame(NamedTuple):
    """A decoded picture with its time.

    rgb: uint8 or uint16 [h, w, 3], full range. pts, duration: ticks of the source's
    time base. index: number in the source. arrived: `time.monotonic` seconds at which
    its bytes were there; 0 where latency means nothing. is_fresh: it does not continue
    the frame before it, so the stream's history is forgotten. orientation: as EXIF
    numbers it; 1 is upright. alpha: [h, w] of the type of ``rgb`` and full range, where
    it is upscaled, too.
    """

    rgb: np.ndarray
    pts: int
    duration: int
    index: int = 0
    arrived: float = 0.0
    is_fresh: bool = False
    orientation: int = 1
    alpha: np.ndarray | None = None


class Source(Protocol):
    """Where frames come from: a file, a folder, a live stream, an inbox before one."""

    def frames(self) -> Iterator[Frame]:
        """Returns the frames in order; to be called once."""
        ...


class Sink(Protocol):
    """Where upscaled frames go; called from one thread, in order."""

    def write(self, frame: Frame, pixels: "Array") -> None:
        """Takes the upscaled picture of ``frame``.

        pixels: uint8 or uint16 [H, W, 3], perhaps still on its way from the device.
        The same array as in the call before means that the picture is repeated.
        """

    def mark(self, state: "StreamState") -> None:
        """Ends a group of frames; ``state`` is the stream's state after the last."""

    def close(self) -> None:
        """Closes open files; a group without its mark is given up."""
