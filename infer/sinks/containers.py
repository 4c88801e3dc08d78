"""What an output container can hold, found by asking its muxer before the job starts."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from infer.sinks.encoders import VideoSpec, add_encoder
from infer.sources.info import OWN_OUTPUT, Limits, StreamInfo, VideoInfo
from infer.sources.probe import open_input

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
MATROSKA_TICK = Fraction(1, 1000)
COVERS = {
    "png": ("cover.png", "image/png"),
    "mjpeg": ("cover.jpg", "image/jpeg"),
    "gif": ("cover.gif", "image/gif"),
    "tiff": ("cover.tif", "image/tiff"),
}
"""Codecs of cover pictures that Matroska holds as attachments: name and type."""
MP4_COVERS = {"png", "mjpeg", "bmp"}


@dataclass(frozen=True)
class Packaging:
    """How one file is put together. kept: the source's other streams; matrix: display
    matrix of the video stream.

    any_key: mp4 and mov write metadata of any name, in QuickTime's form (which some
    players of mp4 do not look at).
    """

    muxer: str
    kept: tuple[int, ...] = ()
    matrix: tuple[int, ...] | None = None
    any_key: bool = False


def muxer_of(path: str) -> str:
    """The muxer for an output file name; ValueError for names we do not write."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in MUXERS:
        raise ValueError(
            f"{path}: cannot write {suffix or 'a file without suffix'}, expected {', '.join(MUXERS)}, "
            "or a folder name (no suffix) for PNG frames"
        )
    return MUXERS[suffix]


def natural_muxer(info: VideoInfo, spec: VideoSpec) -> str:
    """The container to use when none is asked for: the source's own if we write it,
    else the first that fits.
    """
    suffix = os.path.splitext(info.path)[1].lower()
    first = MUXERS.get(suffix, "matroska" if suffix == ".webm" else "mp4")
    ordered = [first, *(m for m in SUFFIXES if m != first)]
    able = [m for m in ordered if _takes_video(spec, m)]
    return next((m for m in able if not refused(info, m)), able[0] if able else first)


def refused(info: VideoInfo, muxer: str) -> list[StreamInfo]:
    """The source's other streams that this container cannot hold."""
    return [s for s in info.others if not _takes(muxer, info.path, s, info.limits)]


def _takes(muxer: str, path: str, info: StreamInfo, limits: Limits) -> bool:
    # Muxers that hold no fonts or covers say so late or never.
    if info.kind == "attachment":
        return muxer == "matroska"
    if info.kind == "cover":
        return info.codec in {"matroska": COVERS, "mp4": MP4_COVERS}.get(
            muxer, ()
        ) and bool(_cover(path, info.index))
    output = av.open(io.BytesIO(), "w", format=muxer)
    with open_input(path, limits) as source:
        stream = source.streams[info.index]
        try:
            copy = add_copy(output, source, info)
            # some muxers refuse only at the header, some only at the first packet
            output.start_encoding()
            if copy.type == "audio":
                _mux_first(output, source, stream, copy)
        except (av.FFmpegError, ValueError, RuntimeError):
            return False
    return True


def _mux_first(
    output: OutputContainer, source: InputContainer, stream: Stream, copy: Stream
) -> None:
    first = next(p for p in source.demux(stream))
    for packet in single_packets(first):
        packet.stream = copy
        output.mux(packet)


AMR_SIZES = {
    "amr_nb": (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1),
    "amr_wb": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}
"""Bytes of a speech frame by its type (3GPP TS 26.101 and 26.201, storage format)."""


def single_packets(packet: Packet) -> Iterator[Packet]:
    """The packet itself; AMR speech frames one by one, because muxers take no more than
    one at a time.
    """
    context = packet.stream.codec_context
    sizes = AMR_SIZES.get(context.codec.canonical_name) if context is not None else None
    data = bytes(packet) if sizes else b""
    if not sizes or len(data) <= sizes[(data[0] >> 3) & 15]:
        yield packet
        return
    step = round(Fraction(1, 50) / packet.time_base)
    for number, frame in enumerate(_speech_frames(data, sizes)):
        single = Packet(frame)
        single.time_base, single.duration, single.is_keyframe = (
            packet.time_base,
            step,
            True,
        )
        single.pts = single.dts = (packet.pts or 0) + number * step
        yield single


def _speech_frames(data: bytes, sizes: tuple[int, ...]) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        size = sizes[(data[position] >> 3) & 15]
        yield data[position : position + size]
        position += size


def add_copy(
    output: OutputContainer, source: InputContainer, info: StreamInfo
) -> Stream:
    """A stream of ``output`` that takes that stream's packets unchanged; Matroska's
    covers are complete with it.
    """
    stream = source.streams[info.index]
    if info.kind == "cover" and output.format.name == "matroska":
        name, mimetype = COVERS[info.codec]
        return output.add_attachment(name, mimetype, _cover(source.name, info.index))
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.disposition = stream.disposition
    copy.metadata.update(info.metadata)
    return copy


def _cover(path: str, index: int) -> bytes:
    """Nothing if it cannot be read."""
    with open_input(path, OWN_OUTPUT) as source, contextlib.suppress(av.FFmpegError):
        for packet in source.demux(source.streams[index]):
            if packet.size:
                return bytes(packet)
    return b""


def able(spec: VideoSpec, other_than: str) -> list[str]:
    """The other containers that hold such video."""
    return [m for m in SUFFIXES if m != other_than and _takes_video(spec, m)]


def _takes_video(spec: VideoSpec, muxer: str) -> bool:
    output = av.open(io.BytesIO(), "w", format=muxer)
    try:
        add_encoder(output, spec, 1)
        output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
