"""Look at a source before the job: open it, decode its first frame, and write down what
it is.
"""

import os
import struct
from fractions import Fraction
from typing import Any, cast

import av
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition, Stream
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.errors import JobError
from infer.sources.images import list_images
from infer.sources.info import (
    ColorTags,
    HDRMetadata,
    PixelLayout,
    StreamInfo,
    VideoInfo,
)
from infer.sources.opener import Refusal, open_local, trust
from infer.tags import said

FLOATING_CLOCKS = {"mpegts", "mpeg", "rtsp", "hls", "rtp", "flv"}
"""Formats whose timestamps start at an arbitrary value."""
LOST_IN_PIXELS = {
    "A53_CC": "closed captions",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "STEREO3D": "the note of how two views are packed",
    "SPHERICAL": "the note of a spherical projection",
    "ICC_PROFILE": "the ICC profile",
}
"""Side data that travels inside coded pictures and is not written again."""


def _name_unknown(cls: type, value: int) -> object:
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"UNKNOWN_{value}", value
    return kind


# PyAV's list of side data lacks newer kinds, such as EXIF, and a frame with one of them
# would show none at all.
SideDataType._missing_ = classmethod(_name_unknown)  # type: ignore[assignment]


def probe(
    path: str,
    stream: int | None = None,
    fps: Fraction = Fraction(25),
    trusted: bool = False,
) -> VideoInfo:
    """Facts about a video file or a folder of images.

    stream: index of the video stream to use; None takes the first one. fps: the rate of
    a folder of images, which has no clock. trusted: a playlist may read files outside
    its own folder. Raises ValueError if the path or stream does not exist and JobError
    if nothing in it can be decoded.
    """
    if os.path.isdir(path):
        return _probe_folder(path, fps)
    if trusted:
        trust(path)
    with open_input(path) as container:
        return _probe_container(container, path, stream)


def open_input(path: str) -> InputContainer:
    """Open for reading; one line says what is wrong with the file if it cannot be."""
    is_file = "://" not in path
    if is_file and not os.path.exists(path):
        raise ValueError(f"{path}: no such file or folder")
    if is_file and os.path.isfile(path) and os.path.getsize(path) == 0:
        raise JobError(f"{path}: the file is empty")
    try:
        return open_local(path) if is_file else av.open(path, metadata_errors="replace")
    except Refusal:
        raise
    except PermissionError:
        raise JobError(f"{path}: not readable (permission denied)") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise JobError(
            f"{path}: not a video that FFmpeg can read ({reason(error)})"
        ) from None


def reason(error: BaseException) -> str:
    """The words of an FFmpeg error without its number and file name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_cover(stream: VideoStream) -> bool:
    """A still picture attached to the file, not its video."""
    return bool(stream.disposition & Disposition.attached_pic)


def choose_stream(
    container: InputContainer, path: str, stream: int | None
) -> VideoStream:
    """The video stream of that index, or the first; ValueError or JobError if there is
    none.
    """
    videos = [s for s in container.streams.video if not is_cover(s)]
    if not videos:
        found = (
            ", ".join(str(_stream_info(s)) for s in container.streams)
            or "no stream at all"
        )
        raise JobError(f"{path}: no video stream (found: {found})")
    chosen = (
        videos[0]
        if stream is None
        else next((s for s in videos if s.index == stream), None)
    )
    if chosen is None:
        raise ValueError(
            f"{path}: stream {stream} is no video, expected one of {[s.index for s in videos]}"
        )
    if chosen.codec_context is None:
        raise JobError(f"{path}: no decoder for video stream {chosen.index}")
    return chosen


def _stream_info(stream: Stream, above: dict[str, str] | None = None) -> StreamInfo:
    context = stream.codec_context
    name = context.codec.canonical_name if context else getattr(stream, "name", None)
    cover = isinstance(stream, VideoStream) and is_cover(stream)
    words = {
        k: v
        for k, v in said(stream.metadata, above).items()
        if not (cover and k in ("filename", "mimetype"))
    }
    kind = "cover" if cover else stream.type
    return StreamInfo(
        stream.index, kind, name or "unknown codec", words, int(stream.disposition)
    )


def _first_frame(
    container: InputContainer, stream: VideoStream, path: str
) -> VideoFrame:
    last_error = "it has no frames"
    packets = container.demux(stream)
    while True:
        try:
            for frame in next(packets).decode():
                return frame
        except StopIteration:
            raise JobError(
                f"{path}: no frame could be decoded ({last_error})"
            ) from None
        except av.FFmpegError as error:
            last_error = reason(error)
            if not isinstance(error, av.InvalidDataError):
                raise JobError(
                    f"{path}: no frame could be decoded ({last_error})"
                ) from None


def _probe_container(
    container: InputContainer, path: str, index: int | None
) -> VideoInfo:
    stream = choose_stream(container, path, index)
    return describe(container, stream, _first_frame(container, stream, path), path)


def describe(
    container: InputContainer, stream: VideoStream, frame: VideoFrame, path: str
) -> VideoInfo:
    """Facts about an open source, given the first frame of its video stream."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    ticks = stream.time_base if frame.pts is not None else None
    others, left_out = _other_streams(container, stream)
    return VideoInfo(
        path=path,
        container=container.format.name,
        stream=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        layout=pixel_layout(frame.format),
        color=color_tags(frame, stream),
        time_base=ticks or 1 / rate,
        rate=rate,
        num_frames=stream.frames or _frames_by_duration(container, stream, rate),
        start=_start(container, stream),
        has_timestamps=ticks is not None,
        sar=stream.sample_aspect_ratio or None,
        display_matrix=display_matrix(frame),
        interlaced=frame.interlaced_frame,
        hdr=hdr_metadata(frame),
        others=tuple(others),
        left_out=(*left_out, *_inside_pictures(frame)),
        metadata=said(container.metadata),
        stream_metadata=said(stream.metadata, container.metadata),
        disposition=int(stream.disposition),
        chapters=tuple(dict(c) for c in container.chapters()),
    )


def _other_streams(
    container: InputContainer, stream: VideoStream
) -> tuple[list[StreamInfo], list[str]]:
    """Streams that can be copied, and those that cannot whatever the container, in
    words.
    """
    others, left_out = [], []
    for other in container.streams:
        if other is stream:
            continue
        if isinstance(other, VideoStream) and not is_cover(other):
            left_out.append(
                f"video stream {other.index} (only stream {stream.index} is upscaled; --stream picks)"
            )
        elif (
            other.type in ("audio", "subtitle", "video") and other.codec_context is None
        ):
            left_out.append(f"{_stream_info(other)}")
        elif other.type in ("audio", "subtitle", "video", "attachment"):
            others.append(_stream_info(other, container.metadata))
        elif not container.chapters() and "timecode" not in other.metadata:
            # tracks of chapters and time codes show up as data, and both are written
            # anew
            left_out.append(f"{_stream_info(other)}")
    return sorted(others, key=lambda o: o.is_attached), left_out


def _inside_pictures(frame: VideoFrame) -> list[str]:
    found = {
        LOST_IN_PIXELS[name]: None
        for name in _side_data_names(frame)
        if name in LOST_IN_PIXELS
    }
    return [f"{what} inside the pictures" for what in found]


def _frames_by_duration(
    container: InputContainer, stream: VideoStream, rate: Fraction
) -> int | None:
    if stream.duration and stream.time_base:
        return max(1, round(stream.duration * stream.time_base * rate))
    if container.duration:
        return max(1, round(Fraction(container.duration, av.time_base) * rate))
    return None


def _start(container: InputContainer, stream: VideoStream) -> Fraction:
    if FLOATING_CLOCKS.isdisjoint(container.format.name.split(",")):
        return Fraction(0)
    starts = [
        s.start_time * s.time_base
        for s in container.streams
        if s.start_time is not None and s.time_base
    ]
    return min(starts, default=Fraction(0))


def pixel_layout(pixel_format: VideoFormat) -> PixelLayout:
    """Bits and chroma subsampling of an FFmpeg pixel format."""
    components = pixel_format.components
    colors = [c for c in components if not c.is_alpha]
    if pixel_format.is_rgb or pixel_format.has_palette or pixel_format.is_bayer:
        name = "rgb"
    elif len(colors) < 3:
        name = "gray"
    else:
        halved = (
            pixel_format.chroma_width(64) < 64,
            pixel_format.chroma_height(64) < 64,
        )
        name = {
            (False, False): "444",
            (True, False): "422",
            (True, True): "420",
            (False, True): "420",
        }[halved]
    bits = max((c.bits for c in components), default=8)
    return PixelLayout(
        pixel_format.name, bits, name, any(c.is_alpha for c in components)
    )


def color_tags(frame: VideoFrame, stream: VideoStream | None = None) -> ColorTags:
    """Tags of a frame, completed by those of its stream where the frame says nothing."""
    context = stream.codec_context if stream is not None else frame
    full = 2 if frame.format.name.startswith("yuvj") else 0
    said = [int(v) for v in (frame.color_primaries, frame.color_trc, frame.colorspace)]
    spare = [
        int(v) for v in (context.color_primaries, context.color_trc, context.colorspace)
    ]
    codes = [a if a not in (2, 3) else b for a, b in zip(said, spare, strict=True)]
    return ColorTags(
        *codes, range=int(frame.color_range) or int(context.color_range) or full
    )


def _all_side_data(frame: VideoFrame) -> list[SideData]:
    return [
        cast(SideData, cast(Any, frame.side_data)[number])
        for number in range(len(frame.side_data))
    ]


def _side_data_names(frame: VideoFrame) -> list[str]:
    return [data.type.name for data in _all_side_data(frame)]


def _side_data(frame: VideoFrame, name: str) -> bytes | None:
    return next(
        (bytes(data) for data in _all_side_data(frame) if data.type.name == name), None
    )


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """The 3x3 matrix (16.16 and 2.30 fixed point) by which players turn and mirror the
    picture.
    """
    data = _side_data(frame, "DISPLAYMATRIX")
    return struct.unpack("=9i", data) if data else None


def hdr_metadata(frame: VideoFrame) -> HDRMetadata | None:
    """Mastering display and content light level of a frame, read from FFmpeg's structs."""
    mastering, light = (
        _side_data(frame, "MASTERING_DISPLAY_METADATA"),
        _side_data(frame, "CONTENT_LIGHT_LEVEL"),
    )
    if mastering is None and light is None:
        return None
    primaries, white, luminance = (), None, None
    if mastering:
        *numbers, has_primaries, has_luminance = struct.unpack("=20i2i", mastering[:88])
        values = [
            Fraction(n, d or 1)
            for n, d in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        if has_primaries:
            primaries = tuple((values[2 * i], values[2 * i + 1]) for i in range(3))
            white = (values[6], values[7])
        if has_luminance:
            luminance = (values[8], values[9])
    max_cll, max_fall = struct.unpack("=2I", light[:8]) if light else (0, 0)
    return HDRMetadata(primaries, white, luminance, max_cll, max_fall)


def _probe_folder(path: str, fps: Fraction) -> VideoInfo:
    files = list_images(path)
    if not files:
        raise JobError(
            f"{path}: no images in this folder (looked for png, jpg, webp, bmp, tif)"
        )
    first = probe(files[0])
    return VideoInfo(
        path=path,
        container="images",
        stream=0,
        codec=first.codec,
        width=first.width,
        height=first.height,
        layout=first.layout,
        color=first.color,
        time_base=1 / fps,
        rate=fps,
        num_frames=len(files),
        start=Fraction(0),
        display_matrix=first.display_matrix,
        files=tuple(files),
    )
