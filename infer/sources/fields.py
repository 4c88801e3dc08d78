"""Whether pictures are woven from two fields although their file does not say so."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from av.filter import Graph
from av.video.frame import VideoFrame

from infer.sources.detectors import add_source, detected
from infer.sources.files import Damage, decode
from infer.sources.info import VideoInfo

# Frames from the beginning: four seconds hold movement in almost every film.
LOOK = 100
# Pixels; the filter sees nothing in smaller pictures.
SMALLEST = 16
# Share of frames that repeat a field: 2 of 5 where 24 frames were made 30, none or few
# by chance elsewhere.
MANY_REPEATED = 0.25


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
    counts = FieldCounts()
    if min(info.width, info.height) < SMALLEST:
        return counts.fields()

    def has_first_size(frame: VideoFrame) -> bool:
        return (frame.width, frame.height) == (info.width, info.height)

    first = itertools.islice(decode(info, Damage()), LOOK)
    # The detector compares a frame with its neighbours, which must have its size.
    frames = itertools.takewhile(has_first_size, first)
    for frame in detected(frames, _detector):
        counts.add(frame.metadata)
    return counts.fields()


class FieldCounts:
    """Counts the verdicts of FFmpeg's `idet`."""

    def __init__(self) -> None:
        self._orders: Counter[str] = Counter()
        self._repetitions: Counter[str] = Counter()

    def add(self, metadata: dict[str, str]) -> None:
        order = metadata.get("lavfi.idet.multiple.current_frame", "")
        repetition = metadata.get("lavfi.idet.repeated.current_frame", "")
        self._orders[order] += 1
        self._repetitions[repetition] += 1

    def fields(self) -> Fields:
        """Returns the counts so far."""
        orders = self._orders
        repetitions = self._repetitions
        return Fields(
            woven=orders["tff"] + orders["bff"],
            progressive=orders["progressive"],
            repeated=repetitions["top"] + repetitions["bottom"],
        )


def _detector(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = add_source(
        graph,
        frame,
        # FFmpeg warns of frames whose colours are others than the graph's
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    graph.link_nodes(source, graph.add("idet"), graph.add("buffersink"))
    graph.configure()
    return graph
