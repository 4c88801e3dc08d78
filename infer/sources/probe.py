"""Looks at a source before the job: opens it, decodes its first frame, and writes down
its facts.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.errors import JobError
from infer.sources import matroska, quicktime
from infer.sources.animation import is_animation, probe_animation, size_by_header
from infer.sources.clock import is_joinable
from infer.sources.images import (
    SUFFIXES,
    alpha_beside,
    have_alpha,
    list_images,
    orientations_in,
    turn_upright,
)
from infer.sources.info import DEFAULT_LIMITS, Limits, StreamInfo, VideoInfo
from infer.sources.opener import check_pixels, open_input, reason
from infer.sources.pictures import (
    color_tags,
    display_matrix,
    hdr_metadata,
    inside_pictures,
    layout_of,
    pixel_layout,
)
from infer.tags import authored_tags

__all__ = [
    "choose_stream",
    "color_tags",
    "describe",
    "display_matrix",
    "hdr_metadata",
    "is_cover",
    "open_input",
    "pixel_layout",
    "probe",
    "probe_images",
    "reason",
]

# Formats whose timestamps start at an arbitrary value.
FLOATING_CLOCKS = {"mpegts", "mpeg", "rtsp", "hls", "rtp", "flv"}
# Seconds. A file of any format that starts later was cut out of a longer one; below,
# the start is the author's delay.
LATE_START = 1
# Formats whose duration is the time of their end.
ABSOLUTE_DURATIONS = {"matroska", "webm", "asf", "nut"}
# Matroska's tag for the end of one stream; the file's own is that of the longest.
END = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
# Bytes of a file that is read through to count its pictures, in half a second.
COUNTED = 2**26
# Frames per second; more is a time base that was taken for a rate.
MAX_RATE = 1000
# FFmpeg's flag of a stream that is a part of a picture; PyAV has no name for it.
DEPENDENT = 0x80000
# Handlers of text tracks that hold the titles of chapters.
CHAPTER_TRACKS = ("SubtitleHandler", "Apple Text Media Handler")


def probe(
    path: str,
    stream: int | None = None,
    fps: Fraction = Fraction(25),
    limits: Limits = DEFAULT_LIMITS,
) -> VideoInfo:
    """Returns facts about a video file or a folder of images.

    stream: index of the video stream to use; None takes the first one. fps: the rate of
    a folder of images, which has no clock. ValueError if the path or stream does not
    exist, JobError if nothing in it can be decoded.
    """
    if os.path.isdir(path):
        return _probe_folder(path, fps, limits)
    with open_input(path, limits) as container:
        if is_animation(path):
            return probe_animation(path, limits)
        return _probe_container(container, path, stream, limits)


def is_cover(stream: VideoStream) -> bool:
    """Returns whether it is a still picture attached to the file, not its video."""
    return bool(stream.disposition & Disposition.attached_pic)


def choose_stream(
    container: InputContainer, path: str, stream: int | None
) -> VideoStream:
    """Returns the video stream of that index, or the first.

    ValueError or JobError if there is none.
    """
    videos = [video for video in container.streams.video if not is_cover(video)]
    if not videos:
        infos = [_stream_info(other) for other in container.streams]
        names = ", ".join(map(str, infos))
        raise JobError(
            f"{path}: no video stream (found: {names or 'no stream at all'})"
        )
    # A grid of HEIC or AVIF: each of its tiles is a stream.
    tiles = [video for video in videos if int(video.disposition) & DEPENDENT]
    if len(tiles) > 1:
        raise JobError(
            f"{path}: a picture stored as {len(tiles)} tiles, which cannot be joined "
            "here; convert it to PNG first"
        )
    if stream is None:
        video = videos[0]
    else:
        matches = [video for video in videos if video.index == stream]
        if not matches:
            indices = [video.index for video in videos]
            raise ValueError(
                f"{path}: stream {stream} is no video, expected one of {indices}"
            )
        video = matches[0]
    if video.codec_context is None:
        raise JobError(f"{path}: no decoder for video stream {video.index}")
    return video


def _stream_info(stream: Stream, above: dict[str, str] | None = None) -> StreamInfo:
    context = stream.codec_context
    name = context.codec.canonical_name if context else getattr(stream, "name", None)
    words = authored_tags(stream.metadata, above)
    kind = stream.type
    if isinstance(stream, VideoStream) and is_cover(stream):
        kind = "cover"
        # Its name as an attachment of Matroska; in the output it gets another.
        words.pop("filename", None)
        words.pop("mimetype", None)
    disposition = int(stream.disposition)
    return StreamInfo(stream.index, kind, name or "unknown codec", words, disposition)


def _first_frame(
    container: InputContainer, stream: VideoStream, path: str, limits: Limits
) -> VideoFrame:
    last_error = "it has no frames"
    packets = container.demux(stream)
    while True:
        try:
            for frame in next(packets).decode():
                return frame
        except StopIteration:
            break
        except av.ArgumentError as error:
            # The decoder's answer to a header beyond the limit, and to an empty packet.
            last_error = reason(error)
            if not stream.width:
                check_pixels(path, *size_by_header(path), limits)
                raise ValueError(
                    f"{path}: its decoder refuses the picture's size, expected at most "
                    f"{limits.max_pixels} pixels; --max-pixels raises the limit"
                ) from None
        except av.InvalidDataError as error:
            last_error = reason(error)
        except av.FFmpegError as error:
            last_error = reason(error)
            break
    raise JobError(f"{path}: no frame could be decoded ({last_error})")


def _probe_container(
    container: InputContainer, path: str, index: int | None, limits: Limits
) -> VideoInfo:
    stream = choose_stream(container, path, index)
    frame = _first_frame(container, stream, path, limits)
    info = describe(container, stream, frame, path, limits)
    # Where the clock leaps its length is no number of frames.
    if is_joinable(container) and os.path.getsize(path) <= COUNTED:
        info = replace(info, num_frames=_count_packets(path, stream.index, limits))
    crop = matroska.crop_of(path) or quicktime.crop_of(path)
    if not crop:
        return info
    sides = [f"{pixels} {side}" for side, pixels in crop.items()]
    text = f"the crop (pixels: {', '.join(sides)}); the whole picture is upscaled"
    return replace(info, left_out=(*info.left_out, text))


def _count_packets(path: str, index: int, limits: Limits) -> int | None:
    """The pictures of a file whose clock says little about its length."""
    count = 0
    with open_input(path, limits) as container:
        try:
            for packet in container.demux(container.streams[index]):
                # Only the packet that ends the stream has neither bytes nor a time.
                if packet.size or packet.pts is not None:
                    count += 1
        except av.FFmpegError:
            # Reading the frames will tell.
            return None
    return count or None


def describe(
    container: InputContainer,
    stream: VideoStream,
    frame: VideoFrame,
    path: str,
    limits: Limits = DEFAULT_LIMITS,
) -> VideoInfo:
    """Returns facts about an open source, given the first frame of its video stream."""
    rate = _true_rate(container, stream)
    # H.264 with B-frames in AVI has no times of display.
    ticks = stream.time_base if frame.pts is not None else None
    others, left_out = _other_streams(container, stream)
    codec = stream.codec_context.codec.canonical_name
    layout = layout_of(frame, codec)
    words = authored_tags(stream.metadata, container.metadata)
    if _pop_alpha_mode(words) == "1":
        layout = layout.with_alpha(True)
    return VideoInfo(
        path=path,
        container=container.format.name,
        stream=stream.index,
        codec=codec,
        width=frame.width,
        height=frame.height,
        layout=layout,
        color=color_tags(frame, stream),
        time_base=ticks or 1 / rate,
        rate=rate,
        num_frames=stream.frames or _frames_by_duration(container, stream, rate),
        start=_start(container),
        has_timestamps=ticks is not None,
        sar=stream.sample_aspect_ratio or None,
        display_matrix=display_matrix(frame),
        interlaced=frame.interlaced_frame,
        hdr=hdr_metadata(frame),
        others=tuple(others),
        # Of the first frame; what only later ones have is not known yet.
        left_out=(*left_out, *inside_pictures(frame)),
        metadata=authored_tags(container.metadata),
        stream_metadata=words,
        disposition=int(stream.disposition),
        chapters=tuple(dict(c) for c in container.chapters()),
        limits=limits,
    )


def _pop_alpha_mode(words: dict[str, str]) -> str | None:
    """Removes the statements about an alpha channel: VP8 and VP9 keep it in a second
    picture that FFmpeg's own decoders leave alone, and a file without it must not say
    that it has one.

    Matroska says it in a field, files that FFmpeg was told to mark in a tag, in capital
    letters.
    """
    keys = [key for key in words if key.lower() == "alpha_mode"]
    values = [words.pop(key) for key in keys]
    return max(values, default=None)


def _true_rate(container: InputContainer, stream: VideoStream) -> Fraction:
    """The average rate, or where it makes no sense (raw DV) the rate of the format.

    In a bare stream of pictures the average is FFmpeg's default of 25, and the coded
    pictures know better.
    """
    rates = [stream.average_rate, stream.base_rate, stream.guessed_rate]
    if container.format.flags & Flags.no_timestamps.value:
        rates.reverse()
    for rate in rates:
        if rate and 0 < rate <= MAX_RATE:
            return rate
    return stream.average_rate or Fraction(25)


def _other_streams(
    container: InputContainer, stream: VideoStream
) -> tuple[list[StreamInfo], list[str]]:
    """Streams that can be copied, and in words those that no container can take."""
    others = []
    left_out = []
    alpha = alpha_beside(container, container.name)
    for other in container.streams:
        if other is stream:
            continue
        is_media = other.type in ("audio", "subtitle", "video")
        if other is alpha:
            left_out.append("the alpha channel: .png output holds it")
        elif isinstance(other, VideoStream) and not is_cover(other):
            picked = f"only stream {stream.index} is upscaled; --stream picks"
            left_out.append(f"video stream {other.index} ({picked})")
        elif is_media and other.codec_context is None:
            left_out.append(str(_stream_info(other)))
        elif is_media or other.type == "attachment":
            others.append(_stream_info(other, container.metadata))
        elif not _is_written_anew(container, other):
            left_out.append(str(_stream_info(other)))
    return sorted(others, key=lambda o: o.is_attached), left_out


def _is_written_anew(container: InputContainer, stream: Stream) -> bool:
    """Whether a data track holds chapters or a time code, which outputs get anyway."""
    if "timecode" in stream.metadata:
        return True
    handler = stream.metadata.get("handler_name")
    return bool(container.chapters()) and handler in CHAPTER_TRACKS


def _frames_by_duration(
    container: InputContainer, stream: VideoStream, rate: Fraction
) -> int | None:
    end = END.match(stream.metadata.get("DURATION", ""))
    if end:
        hours, minutes, rest = end.groups()
        num_minutes = 60 * int(hours) + int(minutes)
        seconds = 60 * num_minutes + Fraction(rest)
    elif stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    elif container.duration:
        seconds = Fraction(container.duration, av.time_base)
    else:
        return None
    names = container.format.name.split(",")
    if not ABSOLUTE_DURATIONS.isdisjoint(names) and stream.start_time:
        start = stream.start_time * (stream.time_base or 0)
        if 0 < start < seconds:
            seconds -= start
    return max(1, round(seconds * rate))


def _start(container: InputContainer) -> Fraction:
    names = container.format.name.split(",")
    start = _first_time(container)
    is_floating = not FLOATING_CLOCKS.isdisjoint(names)
    return start if is_floating or start > LATE_START else Fraction(0)


def _first_time(container: InputContainer) -> Fraction:
    """Seconds of the first packet of any stream."""
    starts = []
    for stream in container.streams:
        if stream.start_time is not None and stream.time_base:
            starts.append(stream.start_time * stream.time_base)
    return min(starts, default=Fraction(0))


def for_pictures(info: VideoInfo) -> VideoInfo:
    """Returns the facts for an output of pictures.

    Where photographs were taken upright and across, turning them would change the size
    in mid-stream; they stay as stored, and their orientation is written. All get an
    alpha channel if one of them has one.
    """
    if not info.layout.has_alpha and have_alpha(info.files):
        info = replace(info, layout=info.layout.with_alpha(True))
    if len(orientations_in(info.files)) < 2:
        return info
    width, height = size_by_header(info.files[0])
    return replace(info, width=width, height=height, is_upright=False)


def _probe_folder(path: str, fps: Fraction, limits: Limits) -> VideoInfo:
    files = list_images(path)
    if not files:
        kinds = [suffix.removeprefix(".") for suffix in SUFFIXES]
        names = ", ".join(kinds)
        raise JobError(f"{path}: no images in this folder (looked for {names})")
    return probe_images(path, files, fps, limits)


def probe_images(
    path: str, files: Sequence[str], fps: Fraction, limits: Limits
) -> VideoInfo:
    """Returns facts about image files, shown at ``fps`` one after the other.

    path: the name of the source for the user.
    """
    with open_input(files[0], limits) as container:
        stream = choose_stream(container, files[0], None)
        frame = _first_frame(container, stream, files[0], limits)
        frame = turn_upright(frame)
        codec = stream.codec_context.codec.canonical_name
        color = color_tags(frame, stream)
    return VideoInfo(
        path=path,
        container="images",
        stream=0,
        codec=codec,
        width=frame.width,
        height=frame.height,
        layout=layout_of(frame, codec),
        color=color,
        time_base=1 / fps,
        rate=fps,
        num_frames=len(files),
        start=Fraction(0),
        files=tuple(files),
        limits=limits,
    )
