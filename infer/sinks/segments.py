"""One segment of the video: a small Matroska file of closed groups of pictures.

Inside a segment file the timestamp of a frame is its number within the segment, in
milliseconds; the real timestamps are in the `Segment` record. So no container rounds
them.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container.core import Flags
from av.packet import Packet

from infer.code_points import FULL
from infer.colours import FromRGB, add_alpha
from infer.sinks.encoder_setup import add_encoder
from infer.sinks.encoder_spec import VideoSpec
from sdvsr_jax.atomic import sync

NUMBER_BASE = Fraction(1, 1000)
# Ticks: decoding times must lie before the times of display, however late a picture
# comes out of the encoder.
EARLY = 1000


@dataclass(frozen=True)
class Segment:
    """A finished segment.

    pts, durations: in the order of display, ticks of the job's time base. delay: frames
    by which decoding must run ahead of display.
    """

    path: str
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    delay: int


class SegmentWriter:
    """Encode up to ``group`` RGB frames into ``path``; `close` fsyncs and returns the
    record.
    """

    def __init__(self, path: str, spec: VideoSpec, group: int) -> None:
        self._path = path
        self._time_base = spec.time_base
        self._container = av.open(path, "w", format="matroska")
        self._container.flags |= Flags.bitexact.value
        self._stream = add_encoder(self._container, spec, group)
        self._spec = spec
        self._converters = {deep: _converter(spec, deep) for deep in (False, True)}
        self._pts: list[int] = []
        self._durations: list[int] = []
        self._number: dict[int, int] = {}
        self._written = 0
        self._delay = 0

    def write(
        self,
        rgb: np.ndarray,
        pts: int,
        duration: int,
        alpha: np.ndarray | None = None,
    ) -> None:
        """rgb: uint8 or uint16 [h, w, 3]; pts strictly increasing.

        alpha: of any size, where the encoder takes it; opaque without.
        """
        self._number[pts] = len(self._pts)
        self._pts.append(pts)
        self._durations.append(duration)
        converter = self._converters[rgb.dtype == np.uint16]
        pixels = add_alpha(rgb, alpha) if self._spec.has_alpha else rgb
        frame = converter.convert(pixels, pts, self._time_base)
        # Where ProRes takes them from.
        frame.color_primaries = self._spec.color.primaries
        frame.color_trc = self._spec.color.transfer
        frame.colorspace = self._spec.color.matrix
        self._mux(self._stream.encode(frame))

    def close(self) -> Segment:
        """Finish the file and put it safely on disk."""
        self._mux(self._stream.encode(None))
        self._container.close()
        sync(self._path)
        pts = tuple(self._pts)
        durations = tuple(self._durations)
        return Segment(self._path, pts, durations, self._delay)

    def abandon(self) -> None:
        """Close without finishing; the file is not usable."""
        self._container.close()

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            number = self._number[packet.pts]
            # A picture may leave the encoder after others that are shown later.
            lateness = self._written - number
            self._delay = max(self._delay, lateness)
            packet.time_base = NUMBER_BASE
            packet.pts = number
            packet.dts = self._written - EARLY
            self._container.mux(packet)
            self._written += 1


def _converter(spec: VideoSpec, deep: bool) -> FromRGB:
    """From frames of 8 or 16 bits into the encoder's pixel format."""
    is_full = spec.color.range == FULL
    return FromRGB(
        spec.width,
        spec.height,
        deep,
        spec.pixel_format,
        spec.matrix,
        is_full,
        spec.has_alpha,
    )
