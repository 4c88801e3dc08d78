"""What an output container can hold, found by asking its muxer before the job starts."""

import io
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from infer.media.codecs import VideoSpec, add_encoder
from infer.media.info import StreamInfo, VideoInfo
from infer.media.probe import open_input, reason

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
SUFFIXES = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}


def muxer_of(path: str) -> str:
    """The muxer for an output file name; ValueError for names we do not write."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in MUXERS:
        raise ValueError(f"{path}: cannot write {suffix or 'a file without suffix'}, expected {', '.join(MUXERS)}, "
                         "or a folder name (no suffix) for PNG frames")  # fmt: skip
    return MUXERS[suffix]


def natural_muxer(info: VideoInfo, spec: VideoSpec) -> str:
    """The container to use when none is asked for: the source's own if we write it, else the first that fits."""
    suffix = os.path.splitext(info.path)[1].lower()
    first = MUXERS.get(suffix, "matroska" if suffix == ".webm" else "mp4")
    ordered = [first, *(m for m in SUFFIXES if m != first)]
    able = [m for m in ordered if _takes_video(spec, m)]
    return next((m for m in able if not refused(info, m)), able[0] if able else first)


def refused(info: VideoInfo, muxer: str) -> list[StreamInfo]:
    """The source's other streams that this container cannot hold."""
    return [s for s in info.others if not _takes(muxer, info.path, s.index)]


def _takes(muxer: str, path: str, index: int) -> bool:
    output = av.open(io.BytesIO(), "w", format=muxer)
    with open_input(path) as source:
        stream = source.streams[index]
        try:
            copy = add_copy(output, stream)
            # Some muxers refuse only at the header, some only at the first packet; covers and fonts need a real
            # track beside them, so for those the question is enough.
            if copy.type in ("audio", "subtitle"):
                output.start_encoding()
            if copy.type == "audio":
                _mux_first(output, source, stream, copy)
        except (av.FFmpegError, ValueError, RuntimeError):
            return False
    return True


def _mux_first(output: OutputContainer, source: InputContainer, stream: Stream, copy: Stream) -> None:
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
    """The packet itself; AMR speech frames one by one, because muxers take no more than one at a time."""
    context = packet.stream.codec_context
    sizes = AMR_SIZES.get(context.codec.canonical_name) if context is not None else None
    data = bytes(packet) if sizes else b""
    if not sizes or len(data) <= sizes[(data[0] >> 3) & 15]:
        yield packet
        return
    step = round(Fraction(1, 50) / packet.time_base)
    for number, frame in enumerate(_speech_frames(data, sizes)):
        single = Packet(frame)
        single.time_base, single.duration, single.is_keyframe = packet.time_base, step, True
        single.pts = single.dts = (packet.pts or 0) + number * step
        yield single


def _speech_frames(data: bytes, sizes: tuple[int, ...]) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        size = sizes[(data[position] >> 3) & 15]
        yield data[position : position + size]
        position += size


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """A stream of ``output`` that takes the packets of ``stream`` unchanged."""
    copy = output.add_stream_from_template(stream, opaque=True)
    copy.disposition = stream.disposition
    copy.metadata.update(stream.metadata)
    return copy


def rehearse(info: VideoInfo, spec: VideoSpec, muxer: str, kept: Iterable[int]) -> None:
    """Write the whole output header in memory, so that any refusal comes before the work, not after it."""
    output = av.open(io.BytesIO(), "w", format=muxer)
    try:
        add_encoder(output, spec, 1)
        if kept:
            with open_input(info.path) as source:
                _add_and_start(output, source, kept)
        else:
            output.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        others = [m for m in SUFFIXES if m != muxer and _takes_video(spec, m)]
        hint = f": use {' or '.join(SUFFIXES[m] for m in others)}" if others else ": use another --codec"
        raise ValueError(
            f"{SUFFIXES[muxer]} cannot hold {spec.encoder} {spec.pixel_format} ({reason(error)}){hint}"
        ) from None


def _add_and_start(output: OutputContainer, source: InputContainer, kept: Iterable[int]) -> None:
    for index in kept:
        add_copy(output, source.streams[index])
    output.start_encoding()


def _takes_video(spec: VideoSpec, muxer: str) -> bool:
    output = av.open(io.BytesIO(), "w", format=muxer)
    try:
        add_encoder(output, spec, 1)
        output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
