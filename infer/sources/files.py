"""Frames of a file or a folder, in order, as RGB arrays with their own timestamps."""

import itertools
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.colours import ToRGB
from infer.frame import Frame
from infer.sources.animation import NAME as ANIMATED_WEBP
from infer.sources.animation import decode_animation
from infer.sources.clock import JoinedClock, demux_unbroken
from infer.sources.images import (
    UPRIGHT,
    alpha_beside,
    orientation_of,
    turn_upright,
)
from infer.sources.info import VideoInfo
from infer.sources.opener import open_input, reason
from infer.sources.pictures import layout_of
from infer.sources.probe import choose_stream

# Decoders that hand out alpha, where FFmpeg's own leave it alone.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass
class Damage:
    """Counts of all that went wrong while reading; filled in as the frames pass."""

    bad_packets: int = 0
    first_error: str = ""
    unreadable_rest: bool = False
    repaired_pts: int = 0
    resized_frames: int = 0
    reshaped_frames: int = 0
    """Frames whose pixels have another aspect ratio than those of the first."""
    clock_jumps: int = 0
    cleared_frames: int = 0
    """Frames whose alpha channel is left out, although the first has none."""

    def facts(self) -> list[str]:
        """Returns changes in mid-stream, in words."""
        facts = []
        if self.reshaped_frames:
            facts.append(
                f"the pixel aspect ratio changes: {self.reshaped_frames} frames are "
                "written with that of the first"
            )
        if self.cleared_frames:
            facts.append(
                f"{self.cleared_frames} frames have an alpha channel, unlike the "
                "first: left out"
            )
        return facts

    def note(self, error: BaseException) -> None:
        """Counts a packet that could not be decoded."""
        self.bad_packets += 1
        self.first_error = self.first_error or reason(error)


@dataclass
class FileSource:
    """Frames ``start`` .. ``start + count`` of a file or a folder of images.

    Damaged packets are skipped and counted in ``damage``. Decoding always begins at the
    first frame, so that a frame has the same bytes wherever reading starts.
    with_alpha: frames have their alpha channel, too. fresh: numbers of frames at which
    the stream begins anew.
    """

    info: VideoInfo
    start: int = 0
    count: int | None = None
    deinterlace: bool = False
    damage: Damage = field(default_factory=Damage)
    with_alpha: bool = False
    fresh: Collection[int] = ()

    def frames(self) -> Iterator[Frame]:
        """Returns the frames; their ``index`` is the number in the source."""
        info = self.info
        damage = self.damage
        stop = None if self.count is None else self.start + self.count
        pictures = decode(info, damage, self.with_alpha)
        timed = _with_time(pictures, info, damage)
        part = itertools.islice(timed, self.start, stop)
        converter = ToRGB(
            info.width,
            info.height,
            info.layout.is_deep,
            info.matrix,
            self.deinterlace,
            info.is_woven,
            info.stored_size,
            self.with_alpha,
        )
        # A deinterlacer hands out every picture one frame late.
        nothing = np.empty((0, 0, 3), np.uint8)
        pending: deque[Frame] = deque()
        for index, (picture, pts, duration) in enumerate(part, self.start):
            orientation = UPRIGHT if info.is_upright else orientation_of(picture)
            frame = Frame(
                nothing,
                pts,
                duration,
                index,
                is_fresh=index in self.fresh,
                orientation=orientation,
            )
            pending.append(frame)
            if self._loses_alpha(picture):
                damage.cleared_frames += 1
            for pixels in converter.convert(picture):
                yield _with_pixels(pending.popleft(), pixels)
            damage.resized_frames = converter.num_resized
        for pixels in converter.flush():
            yield _with_pixels(pending.popleft(), pixels)

    def _loses_alpha(self, picture: VideoFrame) -> bool:
        """Whether nobody was told that this picture's alpha channel is left out."""
        if self.with_alpha or self.info.layout.has_alpha:
            return False
        return layout_of(picture, self.info.codec).has_alpha


def _with_pixels(frame: Frame, pixels: np.ndarray) -> Frame:
    """The frame with [h, w, 3 or 4] as its colours and alpha."""
    if pixels.shape[2] == 3:
        return frame._replace(rgb=pixels)
    rgb = np.ascontiguousarray(pixels[..., :3])
    return frame._replace(rgb=rgb, alpha=pixels[..., 3])


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
    """Returns frames with strictly increasing ticks and a duration.

    Times are as they are; one that is absent or does not increase becomes the next free
    tick.
    """
    last: int | None = None
    for frame in frames:
        pts = frame.pts if info.has_timestamps else None
        if pts is None:
            pts = 0 if last is None else last + info.frame_duration
            if info.has_timestamps:
                damage.repaired_pts += 1
        elif last is not None and pts <= last:
            pts = last + 1
            damage.repaired_pts += 1
        last = pts
        duration = frame.duration if info.has_timestamps else 0
        yield frame, pts, duration or info.frame_duration


def decode(
    info: VideoInfo, damage: Damage, with_alpha: bool = False
) -> Iterator[VideoFrame]:
    """Returns all pictures of a source as they are decoded."""
    if info.files:
        yield from decode_images(info, with_alpha)
    elif info.container == ANIMATED_WEBP:
        yield from decode_animation(info, with_alpha)
    else:
        name = ALPHA_DECODERS.get(info.codec) if with_alpha else None
        with open_input(info.path, info.limits) as container:
            yield from decode_stream(container, info.stream, damage, name)


def decode_stream(
    container: InputContainer, index: int, damage: Damage, decoder: str | None = None
) -> Iterator[VideoFrame]:
    """Returns all frames of a video stream as they are.

    Packets that cannot be decoded are skipped and counted in ``damage``. decoder: the
    name of one that is not FFmpeg's first choice.
    """
    stream = container.streams[index]
    assert isinstance(stream, VideoStream)
    context: VideoCodecContext = stream.codec_context
    if decoder is not None:
        fitting = VideoCodecContext.create(decoder, "r")
        assert isinstance(fitting, VideoCodecContext)
        context = fitting
        # The limit on pixels is among them.
        context.options = stream.codec_context.options
    # Its own, to count jumps while the packets come.
    clock = JoinedClock()
    packets = demux_unbroken(container, [stream], clock)
    shape: Fraction | None = None
    last: VideoFrame | None = None
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            damage.note(error)
            damage.unreadable_rest = True
            return
        if packet is None:
            return
        damage.clock_jumps = clock.num_jumps
        if packet.size == 0 and packet.pts is not None:
            # Theora says so that the last picture stays, AVI that none was taken;
            # decoders refuse both.
            if last is not None and stream.codec_context.name == "theora":
                last.pts = packet.pts
                yield last
            continue
        for frame in _decode_packet(context, packet, damage):
            aspect = stream.codec_context.sample_aspect_ratio
            shape = shape or aspect
            if aspect != shape:
                damage.reshaped_frames += 1
            last = frame
            yield frame


def _decode_packet(
    context: VideoCodecContext, packet: Packet, damage: Damage
) -> Iterator[VideoFrame]:
    try:
        for frame in context.decode(packet):
            if isinstance(frame, VideoFrame):
                yield frame
    except av.FFmpegError as error:
        damage.note(error)


def decode_images(info: VideoInfo, with_alpha: bool = False) -> Iterator[VideoFrame]:
    """Returns the picture of every file of a folder, in order.

    Its size may change from file to file.
    """
    for number, path in enumerate(info.files):
        frame = _decode_image(path, info, with_alpha)
        if info.is_upright:
            frame = turn_upright(frame)
        frame.pts = number
        yield frame


def _decode_image(path: str, info: VideoInfo, with_alpha: bool) -> VideoFrame:
    try:
        with open_input(path, info.limits) as container:
            stream = choose_stream(container, path, None)
            frame = next(container.decode(stream))
            beside = alpha_beside(container, path) if with_alpha else None
            if beside is not None:
                # Reading the picture may have passed the packet of its alpha.
                container.seek(0)
                alpha = next(container.decode(beside))
                assert isinstance(alpha, VideoFrame)
                frame = _merged(frame, alpha, info)
    except (av.FFmpegError, StopIteration) as error:
        raise ValueError(
            f"{path}: not readable as an image ({reason(error)}); remove or replace it"
        ) from None
    return frame


def _merged(picture: VideoFrame, alpha: VideoFrame, info: VideoInfo) -> VideoFrame:
    """A picture in RGB with its alpha, which another picture holds as gray."""
    is_deep = info.layout.is_deep
    size = (picture.width, picture.height)
    (rgb,) = ToRGB(*size, is_deep, info.matrix).convert(picture)
    gray = alpha.to_ndarray(format="gray16le" if is_deep else "gray")
    pixels = np.dstack([rgb, gray])
    return VideoFrame.from_ndarray(pixels, format="rgba64le" if is_deep else "rgba")
