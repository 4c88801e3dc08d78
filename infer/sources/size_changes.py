"""The places where a source changes its frame size or the shape of its pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.sources.animation import NAME as ANIMATED_WEBP
from infer.sources.files import Damage, decode, decode_stream
from infer.sources.info import VideoInfo
from infer.sources.opener import open_input
from infer.sources.pictures import color_tags, layout_of
from infer.sources.probe import describe


@dataclass(frozen=True)
class Run:
    """Frames ``start`` .. ``start + count``; ``info`` describes the first of them."""

    start: int
    count: int
    info: VideoInfo

    def goes_on_with(self, frame: VideoFrame, aspect: Fraction | None) -> bool:
        """Returns whether the frame has the size and the pixels of this run."""
        size = (frame.width, frame.height)
        if size != (self.info.width, self.info.height):
            return False
        if aspect is None or self.info.sar is None:
            return True
        return aspect == self.info.sar


def size_runs(info: VideoInfo, start: int = 0, count: int | None = None) -> list[Run]:
    """Returns the runs within frames ``start`` .. ``start + count``.

    The source is decoded once.
    """
    runs: list[Run] = []
    stop = None if count is None else start + count
    num_frames = 0
    with _frames(info) as (frames, container):
        for number, frame in enumerate(frames):
            num_frames = number + 1
            if stop is not None and number >= stop:
                break
            if number < start:
                continue
            aspect = _aspect(info, container)
            last = runs[-1] if runs else None
            if last is not None and last.goes_on_with(frame, aspect):
                runs[-1] = replace(last, count=last.count + 1)
            else:
                facts = _describe(frame, info, container, is_first=not runs)
                runs.append(Run(number, 1, facts))
    # The container may not say how many frames there are, or not truly; a break leaves
    # at least one beyond the end.
    counted = []
    for run in runs:
        info = replace(run.info, num_frames=num_frames)
        counted.append(replace(run, info=info))
    return counted


@contextmanager
def _frames(
    info: VideoInfo,
) -> Iterator[tuple[Iterator[VideoFrame], InputContainer | None]]:
    if info.files or info.container == ANIMATED_WEBP:
        yield decode(info, Damage()), None
        return
    with open_input(info.path, info.limits) as container:
        yield decode_stream(container, info.stream, Damage()), container


def _describe(
    frame: VideoFrame,
    info: VideoInfo,
    container: InputContainer | None,
    is_first: bool,
) -> VideoInfo:
    """The source's facts as they are at this frame."""
    if container is None:
        return replace(
            info,
            width=frame.width,
            height=frame.height,
            layout=layout_of(frame, info.codec),
            color=color_tags(frame),
        )
    stream = container.streams[info.stream]
    assert isinstance(stream, VideoStream)
    facts = describe(container, stream, frame, info.path, info.limits)
    # The container's word on the pixel aspect ratio is about its beginning; the
    # decoder's is about now.
    size = (facts.width, facts.height)
    is_same_size = size == (info.width, info.height)
    sar = info.sar
    if not (is_first and is_same_size):
        sar = _aspect(info, container) or info.sar
    return replace(
        facts, sar=sar, time_base=info.time_base, has_timestamps=info.has_timestamps
    )


def _aspect(info: VideoInfo, container: InputContainer | None) -> Fraction | None:
    """The pixel aspect ratio that the decoder has seen last; None if it says none."""
    if container is None:
        return None
    stream = container.streams[info.stream]
    assert isinstance(stream, VideoStream)
    return stream.codec_context.sample_aspect_ratio or None
