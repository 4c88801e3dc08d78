"""Whether pictures are woven from two fields although their file does not say so."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from infer.sources.files import Damage, decode
from infer.sources.info import VideoInfo

LOOK = 100
"""Frames from the beginning: four seconds hold movement in almost every film."""
SMALLEST = 16
"""Pixels; the filter sees nothing in smaller pictures."""
MANY_REPEATED = 0.25
"""Share of frames that repeat a field: 2 of 5 where 24 frames were made 30, none or few
by chance elsewhere.
"""


class Fields(NamedTuple):
    """Counts over the first frames."""

    woven: int
    progressive: int
    repeated: int

    @property
    def is_woven(self) -> bool:
        """Whether most frames that can be judged are made of two moments."""
        return self.woven > self.progressive

    @property
    def is_telecined(self) -> bool:
        """Whether fields are repeated in the rhythm that makes 30 of 24 frames."""
        total = self.woven + self.progressive
        return self.woven > 0 and self.repeated > MANY_REPEATED * total


def with_fields(info: VideoInfo) -> tuple[VideoInfo, list[str]]:
    """Returns the facts for deinterlacing, and in words the plan for it."""
    fields = look_at_fields(info)
    notes = []
    if fields.is_telecined:
        notes.append(
            "telecine: fields are repeated to make 30 frames of 24, and after "
            "deinterlacing there are still 30"
        )
    if info.interlaced:
        return info, notes
    if fields.is_woven:
        notes.append(
            f"no frame is flagged as interlaced, but {fields.woven} of the first are "
            "woven of two fields: all are deinterlaced"
        )
        return replace(info, is_woven=True), notes
    notes.append(
        "only frames flagged as interlaced are deinterlaced; the first is not, and the "
        f"first {LOOK} do not look woven of two fields"
    )
    return info, notes


def look_at_fields(info: VideoInfo) -> Fields:
    """Returns counts by FFmpeg's detector; the file is decoded from its beginning."""
    if min(info.width, info.height) < SMALLEST:
        return Fields(0, 0, 0)
    orders: Counter[str] = Counter()
    repetitions: Counter[str] = Counter()
    for frame in _detected(info):
        words = frame.metadata
        orders[words.get("lavfi.idet.multiple.current_frame", "")] += 1
        repetitions[words.get("lavfi.idet.repeated.current_frame", "")] += 1
    repeated = repetitions["top"] + repetitions["bottom"]
    return Fields(orders["tff"] + orders["bff"], orders["progressive"], repeated)


def _detected(info: VideoInfo) -> Iterator[VideoFrame]:
    graph: Graph | None = None
    for frame in itertools.islice(decode(info, Damage()), LOOK):
        if (frame.width, frame.height) != (info.width, info.height):
            break
        if graph is None:
            graph = _detector(frame)
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _detector(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base="1/1000",
        pixel_aspect="1/1",
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    graph.link_nodes(source, graph.add("idet"), graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if isinstance(frame, VideoFrame):
            yield frame
