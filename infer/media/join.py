"""Segments + the source's other streams -> one file, by copying packets; nothing is encoded here."""

import hashlib
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.container.core import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from infer.errors import JobError
from infer.media.codecs import VideoSpec, set_tags
from infer.media.container import add_copy, single_packets
from infer.media.info import VideoInfo
from infer.media.probe import open_input
from infer.media.segment import Segment, sync_file


@dataclass(frozen=True)
class Timeline:
    """When each output frame is shown. pts, durations in ticks of ``time_base``, first shown frame first.

    origin: seconds taken off every timestamp; end: packets of other streams from here on are left out.
    """

    pts: tuple[int, ...]
    durations: tuple[int, ...]
    time_base: Fraction
    origin: Fraction = Fraction(0)
    end: Fraction | None = None
    begins_late: bool = False
    """The first frames of the source were skipped, so earlier packets of other streams are, too."""

    def shifted(self) -> list[int]:
        """Timestamps as the output has them."""
        return [p - round(self.origin / self.time_base) for p in self.pts]


@dataclass
class Copied:
    """A copied stream: packets, a hash over their bytes (demuxers cut PCM and AMR differently), start.

    first: presentation time of its first packet, seconds on the output's clock.
    """

    index: int
    kind: str
    packets: int = 0
    first: Fraction | None = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, packet: Packet) -> None:
        """Count a packet whose timestamps are on the output's clock."""
        self.packets += 1
        self.digest.update(bytes(packet))
        if self.first is None and packet.pts is not None:
            self.first = packet.pts * packet.time_base


def join(
    path: str,
    muxer: str,
    spec: VideoSpec,
    segments: Sequence[Segment],
    info: VideoInfo,
    kept: Sequence[int],
    timeline: Timeline,
    matrix: tuple[int, ...] | None,
) -> list[Copied]:
    """Write ``path`` (fsynced); returns what was copied from the source's streams ``kept``.

    matrix: display matrix for the video stream.
    """
    source = open_input(info.path) if kept else None
    clock = _header_clock(muxer, [spec.time_base, *(source.streams[i].time_base for i in kept)] if source else [])
    with av.open(path, "w", format=muxer, container_options=clock) as output:
        output.flags |= Flags.bitexact.value
        output.metadata.update(info.metadata)
        video = _video_stream(output, segments[0], spec, matrix)
        streams = {i: add_copy(output, source.streams[i]) for i in kept} if source else {}
        copied = {i: Copied(i, s.type) for i, s in streams.items()}
        _set_chapters(output, info, timeline)
        sources = [_video_packets(segments, video, spec, timeline)]
        if source:
            sources.append(_copied_packets(source, streams, copied, timeline))
        for _, packet in heapq.merge(*sources, key=lambda item: item[0]):
            is_copy = packet.stream_index != video.index
            try:
                output.mux(packet)
            except (av.InvalidDataError, av.ArgumentError, av.PatchWelcomeError):
                if not is_copy:
                    raise
                # a damaged packet that this container refuses is left out, and the check of its stream says so
        if source:
            source.close()
    sync_file(path)
    return list(copied.values())


def _header_clock(muxer: str, bases: Sequence[Fraction | None]) -> dict[str, str]:
    """The clock of an mp4 header counts milliseconds by default: too coarse for where each track begins."""
    ticks = math.lcm(1000, *(b.denominator for b in bases if b))
    return {"movie_timescale": str(ticks)} if muxer in ("mp4", "mov") and ticks < 2**31 else {}


def _video_stream(
    output: OutputContainer, segment: Segment, spec: VideoSpec, matrix: tuple[int, ...] | None
) -> VideoStream:
    with av.open(segment.path) as container:
        stream = output.add_stream_from_template(container.streams.video[0], opaque=True)
    context = stream.codec_context
    set_tags(context, spec)
    context.framerate = spec.rate
    stream.time_base = spec.time_base
    if tag := _codec_tag(spec, output.format.name):
        context.codec_tag = tag
    stream.set_display_matrix(matrix)
    return stream


def _codec_tag(spec: VideoSpec, muxer: str) -> str | None:
    if muxer == "matroska":
        return None
    if spec.encoder in ("libx265", "hevc_nvenc"):
        return "hvc1"  # the tag Apple's players insist on; parameter sets are in the header only, as it requires
    if spec.encoder == "prores_ks":
        return "ap4h" if "444" in spec.pixel_format else "apch"
    return None


def _set_chapters(output: OutputContainer, info: VideoInfo, timeline: Timeline) -> None:
    chapters = []
    for chapter in info.chapters:
        base = chapter["time_base"]
        shift = round(timeline.origin / base)
        start, end = chapter["start"] - shift, chapter["end"] - shift
        limit = None if timeline.end is None else round((timeline.end - timeline.origin) / base)
        if end > 0 and (limit is None or start < limit):
            chapters.append({**chapter, "start": max(start, 0), "end": end if limit is None else min(end, limit)})
    if chapters:
        output.set_chapters(chapters)


def _video_packets(
    segments: Sequence[Segment], stream: VideoStream, spec: VideoSpec, timeline: Timeline
) -> Iterator[tuple[Fraction, Packet]]:
    pts = timeline.shifted()
    delay = max(s.delay for s in segments)
    step = max(1, round(1 / (spec.rate * spec.time_base)))
    header: bytes | None = None
    first = position = 0
    for segment in segments:
        with av.open(segment.path) as container:
            video = container.streams.video[0]
            header = header if header is not None else video.codec_context.extradata
            if video.codec_context.extradata != header:
                raise JobError(f"{segment.path}: encoded with other settings than the first segment; use --restart")
            for packet in container.demux(video):
                if packet.pts is None:
                    continue
                number = first + round(packet.pts * packet.time_base * 1000)
                early = delay - position
                packet.time_base = spec.time_base
                packet.pts = pts[number]
                packet.dts = pts[0] - early * step if early > 0 else pts[position - delay]
                packet.duration = pts[number + 1] - pts[number] if number + 1 < len(pts) else timeline.durations[-1]
                packet.stream = stream
                yield packet.dts * spec.time_base, packet
                position += 1
        first += len(segment.pts)
    if position != len(pts):
        raise JobError(f"the encoder returned {position} pictures for {len(pts)} frames")


def _copied_packets(
    source: InputContainer, streams: dict[int, Stream], copied: dict[int, Copied], timeline: Timeline
) -> Iterator[tuple[Fraction, Packet]]:
    last = Fraction(-(10**9))
    try:
        for packet in source.demux([source.streams[i] for i in streams]):
            when = packet.dts if packet.dts is not None else packet.pts
            index = packet.stream_index
            if packet.size == 0 and when is None:
                continue
            seconds = last if when is None else when * packet.time_base
            if _outside(seconds, timeline):
                continue
            shift = round(timeline.origin / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            copied[index].add(packet)
            last = max(last, seconds - timeline.origin)
            for single in single_packets(packet):
                single.stream = streams[index]
                yield last, single
    except av.FFmpegError:
        return  # a damaged tail: what could be read is kept, and the reader has counted the damage


def _outside(seconds: Fraction, timeline: Timeline) -> bool:
    if timeline.begins_late and seconds < timeline.origin:
        return True
    return timeline.end is not None and seconds >= timeline.end
