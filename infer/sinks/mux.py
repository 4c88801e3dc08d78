"""Segments + the source's other streams -> one file, by copying packets; nothing is
encoded here.
"""

import functools
import hashlib
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer, OutputContainer
from av.container.core import Flags
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from infer.errors import JobError
from infer.sinks.containers import SUFFIXES, Packaging, add_copy, single_packets
from infer.sinks.encoders import VideoSpec, set_tags
from infer.sinks.segments import Segment
from infer.sources.clock import demux_unbroken
from infer.sources.info import OWN_OUTPUT, VideoInfo
from infer.sources.probe import open_input, reason
from sdvsr_jax.atomic import sync


@dataclass(frozen=True)
class Timeline:
    """When each output frame is shown. pts, durations in ticks of ``time_base``, first
    shown frame first.

    origin: seconds taken off every timestamp; end: packets of other streams from here
    on are left out.
    """

    pts: tuple[int, ...]
    durations: tuple[int, ...]
    time_base: Fraction
    origin: Fraction = Fraction(0)
    end: Fraction | None = None
    begins_late: bool = False
    """The first frames of the source were skipped, so earlier packets of other streams
    are, too.
    """

    def shifted(self) -> list[int]:
        """Timestamps as the output has them."""
        return [p - round(self.origin / self.time_base) for p in self.pts]


if TYPE_CHECKING:
    from av.container.core import Chapter

SAMPLE = 5000
"""Packets of a source that are looked at for the first one of every stream."""


@dataclass
class Copied:
    """A copied stream: packets, a hash over their bytes (demuxers cut PCM and AMR
    differently), start.

    first: presentation time of its first packet, seconds on the output's clock.
    """

    index: int
    kind: str
    packets: int = 0
    first: Fraction | None = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add_attachment(self, stream: Stream) -> None:
        """Count a file that is in the header, if the stream is one."""
        if isinstance(stream, AttachmentStream):
            self.packets += 1
            self.digest.update(bytes(stream.data or b""))

    def add(self, packet: Packet) -> None:
        """Count a packet whose timestamps are on the output's clock."""
        self.packets += 1
        self.digest.update(bytes(packet))
        if self.first is None and packet.pts is not None:
            self.first = packet.pts * packet.time_base


def join(
    path: str,
    package: Packaging,
    spec: VideoSpec,
    segments: Sequence[Segment],
    info: VideoInfo,
    timeline: Timeline,
    sample: bool = False,
) -> list[Copied]:
    """Write ``path`` (fsynced); returns what was copied of the source's other streams.

    sample: only the first packet of every other stream.
    """
    kept = [other for other in info.others if other.index in package.kept]
    source = open_input(info.path, info.limits) if kept else None
    bases = (
        [
            spec.time_base,
            *(source.streams[k.index].time_base for k in kept if not k.is_attached),
        ]
        if source
        else []
    )
    with av.open(
        path, "w", format=package.muxer, container_options=_header(package, bases)
    ) as output:
        output.flags |= Flags.bitexact.value
        output.metadata.update(info.metadata)
        video = _video_stream(output, segments[0], spec, info, package.matrix)
        streams = {k.index: add_copy(output, source, k) for k in kept} if source else {}
        copied = {k.index: Copied(k.index, k.kind) for k in kept}
        for index, stream in streams.items():
            copied[index].add_attachment(stream)
        output.set_chapters(cut_chapters(info, timeline))
        sources = [_video_packets(segments, video, spec, timeline)]
        if source:
            timed = {
                i: s for i, s in streams.items() if not isinstance(s, AttachmentStream)
            }
            if timed:
                sources.append(_copied_packets(source, timed, copied, timeline, sample))
        number = video.index
        refused = _mux(
            output,
            heapq.merge(*sources, key=lambda item: item[0]),
            bool(streams),
            sample,
        )
        if source:
            source.close()
    if refused and _num_packets(path, number) != len(timeline.pts):
        if sample:
            raise refused
        others = ", ".join(str(k) for k in kept)
        raise JobError(
            f"{info.path}: {others} is so damaged that {SUFFIXES[package.muxer]} loses pictures "
            f"({reason(refused)}): try another container"
        )
    sync(path)
    return list(copied.values())


def _mux(
    output: OutputContainer,
    packets: Iterable[tuple[Fraction, Packet]],
    has_copies: bool,
    rehearsed: bool,
) -> av.FFmpegError | None:
    """Write all packets and the end; returns the last refusal of a damaged one, which
    is left out.

    The refusal may come with a later packet, of any stream, or at the end: packets wait
    in the muxer's queue.
    """
    refused, damaged = (
        None,
        (av.InvalidDataError, av.ArgumentError, av.PatchWelcomeError),
    )
    writes = itertools.chain(
        (functools.partial(output.mux, packet) for _, packet in packets), [output.close]
    )
    for write in writes:
        try:
            write()
        except damaged as error:
            if rehearsed and not has_copies:
                raise
            if not has_copies:
                raise JobError(
                    f"{output.format.name} cannot hold a picture at its time ({reason(error)}): "
                    "try another container"
                ) from None
            refused = error
    return refused


def _num_packets(path: str, index: int) -> int:
    with open_input(path, OWN_OUTPUT) as container:
        return sum(
            1 for packet in container.demux(container.streams[index]) if packet.size
        )


def _header(package: Packaging, bases: Sequence[Fraction | None]) -> dict[str, str]:
    """The clock of an mp4 header counts milliseconds by default: too coarse for where
    each track begins.
    """
    if package.muxer not in ("mp4", "mov"):
        return {}
    ticks = math.lcm(1000, *(b.denominator for b in bases if b))
    return {
        **({"movie_timescale": str(ticks)} if ticks < 2**31 else {}),
        **({"movflags": "use_metadata_tags"} if package.any_key else {}),
    }


def _video_stream(
    output: OutputContainer,
    segment: Segment,
    spec: VideoSpec,
    info: VideoInfo,
    matrix: tuple[int, ...] | None,
) -> VideoStream:
    with av.open(segment.path) as container:
        stream = output.add_stream_from_template(
            container.streams.video[0], opaque=True
        )
    context = stream.codec_context
    set_tags(context, spec)
    context.framerate = spec.rate
    stream.time_base = spec.time_base
    if tag := _codec_tag(spec, output.format.name):
        context.codec_tag = tag
    stream.set_display_matrix(matrix)
    stream.metadata.update(info.stream_metadata)
    stream.disposition = Disposition(info.disposition)
    return stream


def _codec_tag(spec: VideoSpec, muxer: str) -> str | None:
    if muxer == "matroska":
        return None
    if spec.encoder in ("libx265", "hevc_nvenc"):
        # the tag Apple's players insist on; parameter sets are in the header only, as
        # it requires
        return "hvc1"
    if spec.encoder == "prores_ks":
        return "ap4h" if "444" in spec.pixel_format else "apch"
    return None


def cut_chapters(info: VideoInfo, timeline: Timeline) -> list["Chapter"]:
    """The source's chapters on the output's clock."""
    chapters: list[Any] = []
    for chapter in info.chapters:
        base = chapter["time_base"]
        shift = round(timeline.origin / base)
        start, end = chapter["start"] - shift, chapter["end"] - shift
        limit = (
            None
            if timeline.end is None
            else round((timeline.end - timeline.origin) / base)
        )
        if end > 0 and (limit is None or start < limit):
            chapters.append(
                {
                    **chapter,
                    "start": max(start, 0),
                    "end": end if limit is None else min(end, limit),
                }
            )
    return chapters


def _video_packets(
    segments: Sequence[Segment],
    stream: VideoStream,
    spec: VideoSpec,
    timeline: Timeline,
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
                raise JobError(
                    f"{segment.path}: encoded with other settings than the first segment; use --restart"
                )
            for packet in container.demux(video):
                if packet.pts is None:
                    continue
                number = first + round(packet.pts * packet.time_base * 1000)
                early = delay - position
                packet.time_base = spec.time_base
                packet.pts = pts[number]
                packet.dts = (
                    pts[0] - early * step if early > 0 else pts[position - delay]
                )
                packet.duration = (
                    pts[number + 1] - pts[number]
                    if number + 1 < len(pts)
                    else timeline.durations[-1]
                )
                packet.stream = stream
                yield packet.dts * spec.time_base, packet
                position += 1
        first += len(segment.pts)
    if position != len(pts):
        raise JobError(
            f"the encoder returned {position} pictures for {len(pts)} frames"
        )


def _copied_packets(
    source: InputContainer,
    streams: Mapping[int, Stream],
    copied: Mapping[int, Copied],
    timeline: Timeline,
    sample: bool,
) -> Iterator[tuple[Fraction, Packet]]:
    last = Fraction(-(10**9))
    try:
        for number, packet in enumerate(
            demux_unbroken(source, [source.streams[i] for i in streams])
        ):
            if sample and (number > SAMPLE or all(copied[i].packets for i in streams)):
                break
            when = packet.dts if packet.dts is not None else packet.pts
            index = packet.stream_index
            if packet.size == 0 and when is None:
                continue
            seconds = last if when is None else when * packet.time_base
            if copied[index].kind != "cover" and _outside(seconds, timeline):
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
        # a damaged tail: what could be read is kept, and the reader has counted the
        # damage
        pass
    if sample:
        yield from _stand_ins(streams, copied)


def _stand_ins(
    streams: Mapping[int, Stream], copied: Mapping[int, Copied]
) -> Iterator[tuple[Fraction, Packet]]:
    """An empty line for every subtitle track that says nothing for long: mp4 drops
    tracks without packets.
    """
    for index, stream in streams.items():
        if copied[index].kind == "subtitle" and not copied[index].packets:
            packet = Packet(b"\0\0")
            packet.pts, packet.dts, packet.duration, packet.time_base = (
                0,
                0,
                1,
                Fraction(1, 1000),
            )
            copied[index].add(packet)
            packet.stream = stream
            yield Fraction(0), packet


def _outside(seconds: Fraction, timeline: Timeline) -> bool:
    if timeline.begins_late and seconds < timeline.origin:
        return True
    return timeline.end is not None and seconds >= timeline.end
