"""Colour conversion both ways through FFmpeg's accurate scaler, as small filter graphs.

swscale's default path loses several codes on 4:2:0; these flags, explicit matrices and
ranges, and the right chroma position keep a round trip at the rounding of the format.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from infer.sources.info import FULL, LIMITED, RGB_MATRIX, UNSPECIFIED, guessed_matrix

FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
MATRIX_NAMES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020nc",
}
"""The matrices swscale computes; others (ICtCp, YCgCo) are converted as BT.601 both
ways.
"""

SMALLEST_INTERLACED = 16
"""Pixels; smaller pictures have planes that the deinterlacer refuses, and stay as they
are.
"""


def _chain(source: dict[str, str], *filters: tuple[str, str]) -> Graph:
    graph = Graph()
    nodes = [
        graph.add("buffer", **source),
        *(graph.add(*f) for f in filters),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def _buffer(
    width: int, height: int, pixel_format: str, matrix: str, range_name: str
) -> dict[str, str]:
    size = {
        "video_size": f"{width}x{height}",
        "pix_fmt": pixel_format,
        "pixel_aspect": "1/1",
    }
    return {**size, "time_base": "1/1000", "colorspace": matrix, "range": range_name}


class ToRGB:
    """Decoded frames -> RGB frames of one fixed size, full range, 8 or 16 bit;
    optionally deinterlaced.

    matrix: the YUV matrix to assume where a frame carries no tag.
    """

    def __init__(
        self,
        width: int,
        height: int,
        deep: bool,
        matrix: int,
        deinterlace: bool = False,
    ) -> None:
        self._size = (width, height)
        self._format = "rgb48le" if deep else "rgb24"
        self._untagged = matrix
        self._deinterlace = deinterlace
        self._shape: tuple[object, ...] | None = None
        self._graph: Graph | None = None
        self.num_resized = 0

    def convert(self, frame: VideoFrame) -> Iterator[np.ndarray]:
        """Zero or more RGB arrays [h, w, 3]: a deinterlacer is one frame late."""
        shape = self._describe(frame)
        if shape != self._shape:
            yield from self.flush()
            self._shape, self._graph = shape, self._build(frame)
        self.num_resized += (frame.width, frame.height) != self._size
        assert self._graph is not None
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[np.ndarray]:
        """What the graph still holds."""
        if self._graph is not None and self._deinterlace:
            self._graph.push(None)
            yield from self._pull()
        self._graph = self._shape = None

    def _pull(self) -> Iterator[np.ndarray]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield frame.to_ndarray()

    def _describe(self, frame: VideoFrame) -> tuple[object, ...]:
        return (
            frame.width,
            frame.height,
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
        )

    def _build(self, frame: VideoFrame) -> Graph:
        is_rgb = frame.format.is_rgb or frame.format.has_palette
        tagged = int(frame.colorspace) not in (UNSPECIFIED, RGB_MATRIX)
        matrix = MATRIX_NAMES.get(
            int(frame.colorspace) if tagged else self._untagged, "smpte170m"
        )
        full = (
            is_rgb
            or int(frame.color_range) == FULL
            or frame.format.name.startswith("yuvj")
        )
        width, height = self._size
        source = _buffer(
            frame.width,
            frame.height,
            frame.format.name,
            "gbr" if is_rgb else matrix,
            _range(full),
        )
        colors = "" if is_rgb else f":in_color_matrix={matrix}:in_range={_range(full)}"
        scale = ("scale", f"{width}:{height}:{FLAGS}{colors}:out_range=pc")
        lines = (
            self._deinterlace and min(frame.width, frame.height) >= SMALLEST_INTERLACED
        )
        bwdif = [("bwdif", "mode=send_frame:deint=interlaced")] if lines else []
        return _chain(source, *bwdif, scale, ("format", f"pix_fmts={self._format}"))


class FromRGB:
    """RGB arrays -> frames in the encoder's pixel format, matrix and range; chroma sits
    left, as H.26x assumes.
    """

    def __init__(
        self,
        width: int,
        height: int,
        deep: bool,
        pixel_format: str,
        matrix: int,
        full: bool,
    ) -> None:
        self._format = "rgb48le" if deep else "rgb24"
        self._matrix = matrix if matrix in MATRIX_NAMES else guessed_matrix(0)
        name = MATRIX_NAMES[self._matrix]
        colors = (
            ""
            if matrix == RGB_MATRIX
            else f":out_color_matrix={name}:out_range={_range(full)}"
        )
        self._range = FULL if full else LIMITED
        self._graph = _chain(
            _buffer(width, height, self._format, "gbr", "pc"),
            ("scale", f"{FLAGS}:in_range=pc{colors}:out_chroma_loc=left"),
            ("format", f"pix_fmts={pixel_format}"),
        )

    def convert(self, rgb: np.ndarray, pts: int, time_base: Fraction) -> VideoFrame:
        """uint8 or uint16 [h, w, 3] -> a frame ready for the encoder."""
        source = VideoFrame.from_ndarray(rgb, format=self._format)
        source.colorspace, source.color_range = RGB_MATRIX, FULL
        source.pts, source.time_base = 0, Fraction(1, 1000)
        self._graph.push(source)
        frame = self._graph.pull()
        assert isinstance(frame, VideoFrame)
        frame.pts, frame.time_base = pts, time_base
        return frame


def _range(full: bool) -> str:
    return "pc" if full else "tv"
