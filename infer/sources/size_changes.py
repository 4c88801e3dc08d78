"""Where a source changes its frame size: runs of frames of equal size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from av.container import InputContainer
from av.video.frame import VideoFrame

from infer.sources.files import Damage, decode_images, decode_stream
from infer.sources.info import VideoInfo
from infer.sources.probe import color_tags, describe, open_input, pixel_layout


@dataclass(frozen=True)
class Run:
    """Frames ``start`` .. ``start + count`` of a source; ``info`` is the source as seen
    at the first of them.
    """

    start: int
    count: int
    info: VideoInfo


def size_runs(info: VideoInfo, start: int = 0, count: int | None = None) -> list[Run]:
    """The runs within frames ``start`` .. ``start + count``, found by decoding the
    source once.
    """
    found: list[Run] = []
    stop, index = None if count is None else start + count, 0
    with _frames(info) as (frames, container):
        for index, frame in enumerate(frames, 1):
            number = index - 1
            if stop is not None and number >= stop:
                break
            if number < start:
                continue
            if found and (frame.width, frame.height) == (
                found[-1].info.width,
                found[-1].info.height,
            ):
                found[-1] = replace(found[-1], count=found[-1].count + 1)
            else:
                found.append(Run(number, 1, _seen_at(frame, info, container)))
    # The container may not say how many frames there are, or not truly; a break leaves
    # at least one beyond the end.
    return [replace(run, info=replace(run.info, num_frames=index)) for run in found]


@contextmanager
def _frames(
    info: VideoInfo,
) -> Iterator[tuple[Iterator[VideoFrame], InputContainer | None]]:
    if info.files:
        yield decode_images(info), None
        return
    with open_input(info.path) as container:
        yield decode_stream(container, info.stream, Damage()), container


def _seen_at(
    frame: VideoFrame, info: VideoInfo, container: InputContainer | None
) -> VideoInfo:
    if container is None:
        size, layout = (
            {"width": frame.width, "height": frame.height},
            pixel_layout(frame.format),
        )
        return replace(info, **size, layout=layout, color=color_tags(frame))
    stream = next(s for s in container.streams.video if s.index == info.stream)
    seen = describe(container, stream, frame, info.path)
    same_size = (seen.width, seen.height) == (info.width, info.height)
    # The container's word on the pixel aspect ratio is about its beginning; the
    # decoder's is about now.
    sar = (
        info.sar if same_size else stream.codec_context.sample_aspect_ratio or info.sar
    )
    return replace(
        seen, sar=sar, time_base=info.time_base, has_timestamps=info.has_timestamps
    )
