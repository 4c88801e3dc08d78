"""Frames through FFmpeg's detectors: none is lost where size or format change."""

from collections.abc import Iterator

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from infer.sources.detectors import add_source, detected
from infer.sources.fields import FieldCounts

FORMATS = ("rgb24", "gray")
# Another size, and another format of the same size.
KINDS = st.sampled_from([(32, 32, "rgb24"), (48, 32, "rgb24"), (32, 32, "gray")])
RUNS = st.lists(st.tuples(KINDS, st.integers(1, 4)), max_size=4)


def frames(runs: list) -> Iterator[VideoFrame]:
    for (width, height, kind), count in runs:
        shape = (height, width, 3) if kind == "rgb24" else (height, width)
        for _ in range(count):
            yield VideoFrame.from_ndarray(np.zeros(shape, np.uint8), kind)


def graph_of(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = add_source(graph, frame)
    graph.link_nodes(source, graph.add("idet"), graph.add("buffersink"))
    graph.configure()
    return graph


@settings(max_examples=20, deadline=None)
@given(RUNS)
def test_every_frame_leaves_in_its_size(runs):
    expected = [size_of(frame) for frame in frames(runs)]
    results = detected(frames(runs), graph_of)
    assert [size_of(frame) for frame in results] == expected


def size_of(frame: VideoFrame) -> tuple[int, int]:
    return frame.width, frame.height


def test_a_change_makes_a_new_graph() -> None:
    widths = []

    def counting(frame: VideoFrame) -> Graph:
        widths.append(frame.width)
        return graph_of(frame)

    runs = [((32, 32, "rgb24"), 2), ((48, 32, "rgb24"), 1), ((32, 32, "rgb24"), 1)]
    list(detected(frames(runs), counting))
    assert widths == [32, 48, 32]


def test_still_frames_are_no_fields() -> None:
    counts = FieldCounts()
    still = frames([((32, 32, "gray"), 4)])
    for frame in detected(still, graph_of):
        counts.add(frame.metadata)
    fields = counts.fields()
    assert not fields.is_woven
    assert not fields.is_telecined
