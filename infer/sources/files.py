"""Frames of a file or a folder, in order, as RGB arrays with their own timestamps."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from infer.colours import ToRGB
from infer.frame import Frame
from infer.sources.info import VideoInfo
from infer.sources.probe import open_input, reason


@dataclass
class Damage:
    """What went wrong while reading; filled in as the frames pass."""

    bad_packets: int = 0
    first_error: str = ""
    unreadable_rest: bool = False
    repaired_pts: int = 0
    resized_frames: int = 0

    def note(self, error: BaseException) -> None:
        """Count a packet that could not be decoded."""
        self.bad_packets += 1
        self.first_error = self.first_error or reason(error)


@dataclass
class FileSource:
    """Frames ``start`` .. ``start + count`` of a file or a folder of images.

    Damaged packets are skipped and counted in ``damage``. Decoding always begins at the
    first frame, so that a frame has the same bytes wherever reading starts.
    """

    info: VideoInfo
    start: int = 0
    count: int | None = None
    deinterlace: bool = False
    damage: Damage = field(default_factory=Damage)

    def frames(self) -> Iterator[Frame]:
        """Returns the frames; their ``index`` is the number in the source."""
        info, damage = self.info, self.damage
        decoded = decode_images(info) if info.files else _decode_video(info, damage)
        stop = None if self.count is None else self.start + self.count
        timed = itertools.islice(_with_time(decoded, info, damage), self.start, stop)
        converter = ToRGB(
            info.width, info.height, info.layout.is_deep, info.matrix, self.deinterlace
        )
        # A deinterlacer hands out every picture one frame late.
        waiting: deque[tuple[int, int, int]] = deque()
        for index, (picture, pts, duration) in enumerate(timed, self.start):
            waiting.append((pts, duration, index))
            for rgb in converter.convert(picture):
                yield Frame(rgb, *waiting.popleft())
            damage.resized_frames = converter.num_resized
        for rgb in converter.flush():
            yield Frame(rgb, *waiting.popleft())


def read_frames(
    info: VideoInfo,
    start: int = 0,
    count: int | None = None,
    deinterlace: bool = False,
) -> Iterator[Frame]:
    """Returns the frames of a `FileSource`."""
    return FileSource(info, start, count, deinterlace).frames()


def _with_time(
    frames: Iterator[VideoFrame], info: VideoInfo, damage: Damage
) -> Iterator[tuple[VideoFrame, int, int]]:
    """Strictly increasing timestamps: as they are; where missing or not increasing, the
    next free tick.
    """
    last: int | None = None
    for frame in frames:
        pts = frame.pts if info.has_timestamps else None
        if pts is None:
            pts = 0 if last is None else last + info.frame_duration
            damage.repaired_pts += info.has_timestamps
        elif last is not None and pts <= last:
            pts = last + 1
            damage.repaired_pts += 1
        last = pts
        duration = frame.duration if info.has_timestamps else 0
        yield frame, pts, duration or info.frame_duration


def _decode_video(info: VideoInfo, damage: Damage) -> Iterator[VideoFrame]:
    with open_input(info.path) as container:
        yield from decode_stream(container, info.stream, damage)


def decode_stream(
    container: InputContainer, index: int, damage: Damage
) -> Iterator[VideoFrame]:
    """All frames of a video stream as they are; what cannot be decoded is skipped and
    counted in ``damage``.
    """
    packets = container.demux(container.streams[index])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            damage.note(error)
            damage.unreadable_rest = True
            return
        if packet is None:
            return
        try:
            yield from (f for f in packet.decode() if isinstance(f, VideoFrame))
        except av.FFmpegError as error:
            damage.note(error)


def decode_images(info: VideoInfo) -> Iterator[VideoFrame]:
    """The picture of every file of a folder, in order; its size may change from file to
    file.
    """
    for number, path in enumerate(info.files):
        try:
            with open_input(path) as container:
                frame = next(container.decode(video=0))
        except (av.FFmpegError, StopIteration) as error:
            raise ValueError(
                f"{path}: not readable as an image ({reason(error)}); remove or replace it"
            ) from None
        frame.pts = number
        yield frame
