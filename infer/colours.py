"""Colour conversion both ways through FFmpeg's accurate scaler, as small filter graphs.

swscale's default path loses several codes on 4:2:0; these flags, explicit matrices and
ranges, and the right chroma position keep a round trip at the rounding of the format.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from infer.code_points import FULL, RGB_MATRIX, UNSPECIFIED

FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
# The matrices swscale computes.
MATRIX_NAMES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020nc",
}
# Others (ICtCp, YCgCo) are converted as BT.601 both ways, so that they come out as they
# went in.
OTHER_MATRIX = "smpte170m"

# Pixels; smaller pictures have planes that the deinterlacer refuses, and stay as they
# are.
SMALLEST_INTERLACED = 16


def _chain(source: dict[str, str], *filters: tuple[str, str]) -> Graph:
    graph = Graph()
    nodes = [graph.add("buffer", **source)]
    nodes += [graph.add(*f) for f in filters]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def _buffer(
    width: int, height: int, pixel_format: str, matrix: str, range_name: str
) -> dict[str, str]:
    return {
        "video_size": f"{width}x{height}",
        "pix_fmt": pixel_format,
        "pixel_aspect": "1/1",
        "time_base": "1/1000",
        "colorspace": matrix,
        "range": range_name,
    }


def apply_filters(frame: VideoFrame, filters: Sequence[tuple[str, str]]) -> VideoFrame:
    """Returns the frame behind filters that leave its pixel format as it is."""
    # Numbers, because filters know fewer names of matrices than there are tags.
    source = _buffer(
        frame.width,
        frame.height,
        frame.format.name,
        str(int(frame.colorspace)),
        str(int(frame.color_range)),
    )
    graph = _chain(source, *filters)
    graph.push(frame)
    result = graph.pull()
    assert isinstance(result, VideoFrame)
    return result


class ToRGB:
    """Decoded frames -> RGB frames of one fixed size, full range, 8 or 16 bit.

    matrix: the YUV matrix to assume where a frame carries no tag. deinterlace: frames
    that say they are interlaced, or all with ``is_woven``. stored_size: (width, height)
    that frames should have, if not that of the output. with_alpha: the arrays have a
    fourth channel, opaque where a frame says nothing of it.
    """

    def __init__(
        self,
        width: int,
        height: int,
        deep: bool,
        matrix: int,
        deinterlace: bool = False,
        is_woven: bool = False,
        stored_size: tuple[int, int] | None = None,
        with_alpha: bool = False,
    ) -> None:
        self._size = (width, height)
        self._stored_size = stored_size or self._size
        self._format = _array_format(deep, with_alpha)
        self._untagged = matrix
        self._deinterlace = deinterlace
        self._which = "all" if is_woven else "interlaced"
        self._shape: tuple[object, ...] | None = None
        self._graph: Graph | None = None
        self.num_resized = 0

    def convert(self, frame: VideoFrame) -> Iterator[np.ndarray]:
        """Returns no, one or more arrays [h, w, 3 or 4]: deinterlacers are late."""
        shape = self._describe(frame)
        if shape != self._shape:
            # A deinterlacer still holds the last frame of the old shape.
            yield from self.flush()
            self._shape, self._graph = shape, self._build(frame)
        if (frame.width, frame.height) != self._stored_size:
            self.num_resized += 1
        assert self._graph is not None
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[np.ndarray]:
        """Returns the frames that the graph still holds."""
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
                # It wants another frame first, or was told that there is none.
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
        layout = frame.format
        is_rgb = layout.is_rgb or layout.has_palette
        range_name = _range(is_rgb or is_full_range(frame))
        matrix = "gbr" if is_rgb else self._matrix_of(frame)
        source = _buffer(frame.width, frame.height, layout.name, matrix, range_name)
        width, height = self._size
        scale = f"{width}:{height}:{FLAGS}:out_range=pc"
        if not is_rgb:
            scale = f"{scale}:in_color_matrix={matrix}:in_range={range_name}"
        filters = [("scale", scale), ("format", f"pix_fmts={self._format}")]
        smaller_side = min(frame.width, frame.height)
        if self._deinterlace and smaller_side >= SMALLEST_INTERLACED:
            # Before scaling, which would mix the rows of both fields.
            deinterlacer = f"mode=send_frame:deint={self._which}"
            filters.insert(0, ("bwdif", deinterlacer))
        return _chain(source, *filters)

    def _matrix_of(self, frame: VideoFrame) -> str:
        matrix = int(frame.colorspace)
        if matrix in (UNSPECIFIED, RGB_MATRIX):
            matrix = self._untagged
        return MATRIX_NAMES.get(matrix, OTHER_MATRIX)


def is_full_range(frame: VideoFrame) -> bool:
    """Returns whether black is 0; JPEG's own pixel formats say it by their name."""
    is_jpeg = frame.format.name.startswith("yuvj")
    return is_jpeg or int(frame.color_range) == FULL


class FromRGB:
    """RGB arrays -> frames in the encoder's pixel format, matrix and range.

    Chroma sits left, as H.26x assumes. with_alpha: the arrays have a fourth channel.
    """

    def __init__(
        self,
        width: int,
        height: int,
        deep: bool,
        pixel_format: str,
        matrix: int,
        full: bool,
        with_alpha: bool = False,
    ) -> None:
        self._format = _array_format(deep, with_alpha)
        scale = f"{FLAGS}:in_range=pc"
        if matrix != RGB_MATRIX:
            name = MATRIX_NAMES.get(matrix, OTHER_MATRIX)
            range_name = _range(full)
            scale = f"{scale}:out_color_matrix={name}:out_range={range_name}"
        self._graph = _chain(
            _buffer(width, height, self._format, "gbr", "pc"),
            ("scale", f"{scale}:out_chroma_loc=left"),
            ("format", f"pix_fmts={pixel_format}"),
        )

    def convert(self, rgb: np.ndarray, pts: int, time_base: Fraction) -> VideoFrame:
        """Returns uint8 or uint16 [h, w, 3 or 4] as a frame ready for the encoder."""
        source = VideoFrame.from_ndarray(rgb, format=self._format)
        source.colorspace = RGB_MATRIX
        source.color_range = FULL
        # The graph's own clock; the frame gets its time behind it.
        source.pts = 0
        source.time_base = Fraction(1, 1000)
        self._graph.push(source)
        frame = self._graph.pull()
        assert isinstance(frame, VideoFrame)
        frame.pts = pts
        frame.time_base = time_base
        return frame


def add_alpha(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Returns [H, W, 4]: an alpha channel [h, w], enlarged, behind the colours.

    Opaque without one. Bicubic interpolation: the model's mattes have sharper edges,
    but take as long again and are less exact where nothing changes (docs/log.md).
    """
    height, width, _ = rgb.shape
    if alpha is None:
        full_scale = np.iinfo(rgb.dtype).max
        opaque = np.full((height, width), full_scale, rgb.dtype)
        return np.dstack([rgb, opaque])
    name = "gray16le" if alpha.dtype == np.uint16 else "gray"
    # In one piece: it may be a view into four channels.
    plane = np.ascontiguousarray(alpha)
    small = VideoFrame.from_ndarray(plane, format=name)
    large = small.reformat(width, height, interpolation="BICUBIC")
    return np.dstack([rgb, large.to_ndarray()])


def _array_format(deep: bool, with_alpha: bool) -> str:
    if with_alpha:
        return "rgba64le" if deep else "rgba"
    return "rgb48le" if deep else "rgb24"


def _range(full: bool) -> str:
    return "pc" if full else "tv"
