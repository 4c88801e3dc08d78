"""Frames through FFmpeg's detectors, which write their verdicts beside each frame."""

from collections.abc import Callable, Iterator

import av
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame


def detected(
    frames: Iterator[VideoFrame], make_graph: Callable[[VideoFrame], Graph]
) -> Iterator[VideoFrame]:
    """Yields the frames that leave the graph, verdicts in their metadata.

    ``make_graph`` is called with the first frame, and with every one whose size or
    format is another than that of the frame before.
    """
    graph: Graph | None = None
    shape = None
    for frame in frames:
        new_shape = (frame.width, frame.height, frame.format.name)
        if graph is None or new_shape != shape:
            yield from _finished(graph)
            graph = make_graph(frame)
            shape = new_shape
        graph.push(frame)
        yield from _pulled(graph)
    yield from _finished(graph)


def add_source(graph: Graph, frame: VideoFrame, **colours: str) -> FilterContext:
    """Adds the graph's entrance for frames of this size and format."""
    return graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        # no detector looks at times
        time_base="1/1000",
        pixel_aspect="1/1",
        **colours,
    )


def _finished(graph: Graph | None) -> Iterator[VideoFrame]:
    """The frames that the detectors still hold back."""
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            # It wants another frame first, or was told that there is none.
            return
        assert isinstance(frame, VideoFrame)
        yield frame
