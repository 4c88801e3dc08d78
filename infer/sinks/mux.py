"""Segments + the source's other streams -> one file, by copying packets.

No picture is encoded here; sound only where the plan says so.
"""

import contextlib
import functools
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.container.core import Flags
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from infer.errors import JobError
from infer.sinks.containers import (
    COPY,
    COPY_AS_ACM,
    SUFFIXES,
    Packaging,
    add_copy,
    open_output,
)
from infer.sinks.encoder_setup import set_tags
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.packets import Copied, single_packets
from infer.sinks.segments import NUMBER_BASE, Segment
from infer.sinks.sound_encoder import SoundEncoder
from infer.sinks.timeline import Timeline, cut_chapters
from infer.sources.clock import demux_unbroken
from infer.sources.info import OWN_OUTPUT, StreamInfo, VideoInfo
from infer.sources.probe import open_input, reason
from sdvsr_jax.atomic import sync

# Codecs that keep alpha in a second picture beside the first, which only the container
# tells.
ALPHA_BESIDE = ("libvpx-vp9",)
# Packets of a source that are looked at for the first one of every stream.
SAMPLE = 5000
# What muxers say to packets that are not as they should be.
DAMAGE = (av.InvalidDataError, av.ArgumentError, av.PatchWelcomeError)
# Seconds: before every packet with a time.
BEFORE_ALL = Fraction(-(10**9))


def join(
    path: str,
    package: Packaging,
    spec: VideoSpec,
    segments: Sequence[Segment],
    info: VideoInfo,
    timeline: Timeline,
    sample: bool = False,
) -> list[Copied]:
    """Writes ``path``, onto the disk; returns the contents of the other streams.

    sample: only the first packet of every other stream.
    """
    others = [other for other in info.others if other.index in package.streams]
    with ExitStack() as stack:
        source = None
        if others:
            source = stack.enter_context(open_input(info.path, info.limits))
        header = _header(package, spec, source, others)
        output = stack.enter_context(
            open_output(path, package.muxer, header, package.has_acm)
        )
        # Without it Matroska gets a random number and every file FFmpeg's version; the
        # same job makes the same bytes.
        output.flags |= Flags.bitexact.value
        output.metadata.update(info.metadata)
        video = _video_stream(output, segments[0], package.muxer, spec, info)
        video.set_display_matrix(package.matrix)
        number = video.index
        packets = [_video_packets(segments, video, spec, timeline)]
        copies = {other.index: Copied(other.index, other.kind) for other in others}
        if source is not None:
            tracks = _Tracks(output, source, package, others, copies)
            packets.append(_copied_packets(tracks, timeline, sample))
        chapters = cut_chapters(info, timeline)
        output.set_chapters(chapters)
        in_order = heapq.merge(*packets, key=lambda item: item[0])
        refusal = _mux(output, in_order, bool(others), sample)
    # Counting reads the whole file again, so only where something was refused.
    if refusal is not None and _num_packets(path, number) != len(timeline.pts):
        if sample:
            raise refusal
        names = ", ".join(str(other) for other in others)
        raise JobError(
            f"{info.path}: {names} is so damaged that {SUFFIXES[package.muxer]} loses "
            f"pictures ({reason(refusal)}): try another container"
        )
    sync(path)
    return list(copies.values())


def _mux(
    output: OutputContainer,
    packets: Iterable[tuple[Fraction, Packet]],
    has_copies: bool,
    is_trial: bool,
) -> av.FFmpegError | None:
    """Writes all packets and the end; returns the last refusal of a damaged one, which
    is left out.

    The refusal may come with a later packet, of any stream, or at the end: packets wait
    in the muxer's queue.
    """
    refusal = None
    # Lazy: a packet is read when its turn comes, so no stream is in memory as a whole.
    writes = (functools.partial(output.mux, packet) for _, packet in packets)
    for write in itertools.chain(writes, [output.close]):
        try:
            write()
        except DAMAGE as error:
            if is_trial and not has_copies:
                raise
            if not has_copies:
                raise JobError(
                    f"{output.format.name} cannot hold a picture at its time "
                    f"({reason(error)}): try another container"
                ) from None
            refusal = error
    return refusal


def _num_packets(path: str, index: int) -> int:
    with open_input(path, OWN_OUTPUT) as container:
        packets = container.demux(container.streams[index])
        return sum(1 for packet in packets if packet.size)


def _header(
    package: Packaging,
    spec: VideoSpec,
    source: InputContainer | None,
    others: Sequence[StreamInfo],
) -> dict[str, str]:
    """Options of the muxer."""
    if package.muxer not in ("mp4", "mov"):
        return {}
    options = {}
    ticks = 1000
    if source is not None:
        bases: list[Fraction | None] = [spec.time_base]
        for other in others:
            if not other.is_attached:
                bases.append(source.streams[other.index].time_base)
        denominators = [base.denominator for base in bases if base]
        # The clock of the header counts milliseconds by default: too coarse for where
        # each track begins.
        ticks = math.lcm(ticks, *denominators)
    if ticks < 2**31:
        options["movie_timescale"] = str(ticks)
    if package.any_key:
        options["movflags"] = "use_metadata_tags"
    return options


def _video_stream(
    output: OutputContainer,
    segment: Segment,
    muxer: str,
    spec: VideoSpec,
    info: VideoInfo,
) -> VideoStream:
    with av.open(segment.path) as container:
        template = container.streams.video[0]
        stream = output.add_stream_from_template(template, opaque=True)
    context = stream.codec_context
    set_tags(context, spec)
    context.framerate = spec.rate
    stream.time_base = spec.time_base
    if tag := _codec_tag(spec, muxer):
        context.codec_tag = tag
    if spec.has_alpha:
        # By it Matroska knows that there is alpha beside the pictures.
        context.pix_fmt = spec.pixel_format
    stream.metadata.update(info.stream_metadata)
    stream.disposition = Disposition(info.disposition)
    return stream


def _codec_tag(spec: VideoSpec, muxer: str) -> str | None:
    if muxer == "matroska":
        return None
    if spec.encoder in ("libx265", "hevc_nvenc"):
        # The tag Apple's players insist on; parameter sets are in the header only, as
        # it requires.
        return "hvc1"
    if spec.encoder == "prores_ks":
        return "ap4h" if "444" in spec.pixel_format else "apch"
    return None


def _video_packets(
    segments: Sequence[Segment],
    stream: VideoStream,
    spec: VideoSpec,
    timeline: Timeline,
) -> Iterator[tuple[Fraction, Packet]]:
    """Packets of all segments on the output's clock, with their decoding times."""
    pts = timeline.shifted()
    delay = max(segment.delay for segment in segments)
    frame_ticks = 1 / (spec.rate * spec.time_base)
    step = max(1, round(frame_ticks))
    header: bytes | None = None
    first = position = 0
    for segment in segments:
        with av.open(segment.path) as container:
            video = container.streams.video[0]
            extradata = video.codec_context.extradata
            header = header if header is not None else extradata
            if extradata != header:
                raise JobError(
                    "the segments were encoded with different settings; give the same "
                    "command with --restart"
                )
            for packet in container.demux(video):
                if packet.pts is None:
                    continue
                # Packets come in the order of decoding; their time tells the frame.
                seconds = packet.pts * packet.time_base
                number = first + round(seconds / NUMBER_BASE)
                # Before the first frame is shown, decoding is ahead by ``delay``.
                num_early = delay - position
                dts = pts[0] - num_early * step
                if num_early <= 0:
                    dts = pts[position - delay]
                is_last = number + 1 == len(pts)
                duration = timeline.durations[-1]
                if not is_last:
                    duration = pts[number + 1] - pts[number]
                packet.time_base = spec.time_base
                packet.pts = pts[number]
                packet.dts = dts
                packet.duration = duration
                packet.stream = stream
                yield dts * spec.time_base, packet
                position += 1
        first += len(segment.pts)
    if position != len(pts):
        raise JobError(
            f"the encoder returned {position} pictures for {len(pts)} frames"
        )


def _copied_packets(
    tracks: "_Tracks", timeline: Timeline, sample: bool
) -> Iterator[tuple[Fraction, Packet]]:
    """Packets of the other streams with the time by which they are put among others."""
    yield from tracks.packets(timeline, sample)


class _Tracks:
    """The other streams of the output, and their packets on its clock."""

    def __init__(
        self,
        output: OutputContainer,
        source: InputContainer,
        package: Packaging,
        others: Sequence[StreamInfo],
        copies: Mapping[int, Copied],
    ) -> None:
        self._source = source
        self._copies = copies
        self._tracks: dict[int, Stream] = {}
        self._encoders: dict[int, SoundEncoder] = {}
        for other in others:
            way = package.way_of(other.index)
            if way in (COPY, COPY_AS_ACM):
                track = add_copy(output, source, other)
            else:
                track = self._add_encoder(output, other, way)
            copies[other.index].add_attachment(track)
            if not isinstance(track, AttachmentStream):
                self._tracks[other.index] = track
        self._latest = BEFORE_ALL
        self._on_screen: dict[int, Packet] = {}
        """The last subtitle of each track before the output begins."""

    def _add_encoder(
        self, output: OutputContainer, other: StreamInfo, way: str
    ) -> Stream:
        stream = self._source.streams[other.index]
        encoder = SoundEncoder(output, stream, way)
        self._encoders[other.index] = encoder
        encoder.track.disposition = stream.disposition
        encoder.track.metadata.update(other.metadata)
        return encoder.track

    def packets(
        self, timeline: Timeline, sample: bool
    ) -> Iterator[tuple[Fraction, Packet]]:
        """Packets with the time by which they are put among the others."""
        if not self._tracks:
            return
        # A damaged tail: what could be read is there, and the reader has counted the
        # damage.
        with contextlib.suppress(av.FFmpegError):
            for number, packet in enumerate(self._demux()):
                if sample and (number > SAMPLE or self._has_all()):
                    break
                yield from self._place(packet, timeline)
        yield from self._show(timeline)
        # Each on its own: the damaged end of one sound must not cost another's.
        for index, encoder in self._encoders.items():
            with contextlib.suppress(av.FFmpegError):
                yield from self._write(index, encoder.finish())
            self._copies[index].undecodable = encoder.bad_packets
        if sample:
            yield from self._stand_ins()

    def _demux(self) -> Iterator[Packet]:
        streams = [self._source.streams[index] for index in self._tracks]
        return demux_unbroken(self._source, streams)

    def _has_all(self) -> bool:
        copies = [self._copies[index] for index in self._tracks]
        return all(copy.packets for copy in copies)

    def _place(
        self, packet: Packet, timeline: Timeline
    ) -> Iterator[tuple[Fraction, Packet]]:
        index, base = packet.stream_index, packet.time_base
        ticks = packet.dts if packet.dts is not None else packet.pts
        if packet.size == 0 and ticks is None:
            # PyAV's packet that ends a stream.
            return
        seconds = self._latest if ticks is None else ticks * base
        kind = self._copies[index].kind
        if kind == "subtitle" and _stays(packet, seconds, timeline):
            self._on_screen[index] = packet
            return
        if kind == "subtitle" and _is_shown_at(packet, timeline):
            _cut_beginning(packet, timeline)
            seconds = timeline.origin
        elif kind != "cover" and timeline.is_outside(seconds):
            return
        yield from self._show(timeline)
        yield from self._copy(packet, seconds, timeline)

    def _show(self, timeline: Timeline) -> Iterator[tuple[Fraction, Packet]]:
        """Subtitles that are on the screen when the output begins."""
        on_screen, self._on_screen = self._on_screen, {}
        for packet in on_screen.values():
            start = round(timeline.origin / packet.time_base)
            packet.pts = packet.dts = start
            yield from self._copy(packet, timeline.origin, timeline)

    def _copy(
        self, packet: Packet, seconds: Fraction, timeline: Timeline
    ) -> Iterator[tuple[Fraction, Packet]]:
        index, base = packet.stream_index, packet.time_base
        shift = round(timeline.origin / base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        self._latest = max(self._latest, seconds - timeline.origin)
        encoder = self._encoders.get(index)
        if encoder is not None:
            yield from self._write(index, encoder.encode(packet))
            return
        # While it is the source's: the packet's codec tells which bytes count.
        self._copies[index].add(packet)
        for single in single_packets(packet):
            single.stream = self._tracks[index]
            yield self._latest, single

    def _write(
        self, index: int, packets: Iterable[Packet]
    ) -> Iterator[tuple[Fraction, Packet]]:
        """Packets that were encoded here."""
        for packet in packets:
            self._copies[index].add(packet)
            yield self._latest, packet

    def _stand_ins(self) -> Iterator[tuple[Fraction, Packet]]:
        """An empty line for every subtitle track that says nothing for long: mp4 drops
        tracks without packets.
        """
        for index, track in self._tracks.items():
            copy = self._copies[index]
            if copy.kind != "subtitle" or copy.packets:
                continue
            # A text of no letters, as mp4 writes it: two bytes of length.
            packet = Packet(b"\0\0")
            packet.pts = packet.dts = 0
            packet.duration = 1
            packet.time_base = Fraction(1, 1000)
            packet.stream = track
            copy.add(packet)
            yield Fraction(0), packet


def _stays(packet: Packet, seconds: Fraction, timeline: Timeline) -> bool:
    """Whether a subtitle from before the output stays until the track's next one, as
    pictures do.
    """
    is_early = timeline.begins_late and seconds < timeline.origin
    return is_early and not packet.duration


def _is_shown_at(packet: Packet, timeline: Timeline) -> bool:
    """Whether a subtitle began before the output does and is still on the screen."""
    if not timeline.begins_late or packet.pts is None or not packet.duration:
        return False
    start = packet.pts * packet.time_base
    end = start + packet.duration * packet.time_base
    return start < timeline.origin < end


def _cut_beginning(packet: Packet, timeline: Timeline) -> None:
    """Lets a subtitle begin with the output."""
    start = round(timeline.origin / packet.time_base)
    assert packet.pts is not None
    assert packet.duration is not None
    packet.duration -= start - packet.pts
    packet.pts = packet.dts = start
