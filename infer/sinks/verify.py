"""Reads the output back and holds it against the source: nothing but resolution may be
lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any

from av.stream import AttachmentStream, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.code_points import LIMITED
from infer.sinks.containers import Packaging
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.packets import Copied
from infer.sinks.timeline import Timeline, cut_chapters
from infer.sources.info import OWN_OUTPUT, ColorTags, HDRMetadata, VideoInfo
from infer.sources.probe import (
    choose_stream,
    color_tags,
    display_matrix,
    hdr_metadata,
    open_input,
    pixel_layout,
)
from infer.tags import authored_tags, missing_tags

# Luminance of x265; the others' steps are smaller.
HDR_STEP = Fraction(1, 10_000)
# The clock of chapters in mp4.
MILLISECOND = Fraction(1, 1000)
# One in the numbers of a display matrix.
MATRIX_ONE = 65536
# Those of its numbers that turn and mirror; the others only matter to players that do
# not centre the picture.
TURNING = (0, 1, 3, 4)


@dataclass(frozen=True)
class Check:
    """One property of the output.

    ok: it is as expected. found: its value. note: why it may differ. what: its
    part that differs, where it has parts.
    """

    name: str
    ok: bool
    expected: str
    found: str
    note: str = ""
    what: str = ""

    def __str__(self) -> str:
        text = self.name
        if not self.ok:
            text = f"{self.name} {self.found} instead of {self.expected}"
        return f"{text} ({self.note})" if self.note else text

    @property
    def loss(self) -> str:
        """The loss in words."""
        return f"{self.name} ({self.what})" if self.what else self.name

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def check_output(
    path: str,
    package: Packaging,
    spec: VideoSpec,
    info: VideoInfo,
    timeline: Timeline,
    copies: Sequence[Copied],
) -> list[Check]:
    """Compares a finished file with the plan and the source, reading every packet."""
    times, tick, streams = _read_packets(path)
    late = Fraction(0)
    if times:
        late = times[0] * tick - timeline.shifted()[0] * spec.time_base
    with open_input(path, OWN_OUTPUT) as container:
        video = choose_stream(container, path, None)
        frame = next(container.decode(video))
        size = f"{spec.width}x{spec.height}"
        aspect = video.sample_aspect_ratio or Fraction(1)
        turn = _rotation(display_matrix(frame))
        chapters = cut_chapters(info, timeline)
        slack = late + MILLISECOND
        checks = [
            _same("size", size, f"{frame.width}x{frame.height}"),
            _same("sample aspect ratio", spec.sar or Fraction(1), aspect),
            _same("rotation", _rotation(package.matrix), turn),
            _check_colors(info, spec, color_tags(frame, video)),
            _check_bit_depth(info, pixel_layout(frame.format).bits),
            *_check_alpha(spec, frame, video),
            _check_hdr(info.hdr, hdr_metadata(frame)),
            _check_chapters(chapters, container.chapters(), slack),
            _check_tags("metadata", info.metadata, container.metadata),
            *_check_words("video", info.stream_metadata, info.disposition, video),
        ]
        others = {other.index: other for other in info.others}
        # mp4 leaves out empty tracks.
        is_complete = len(streams) == len(copies)
        expected = [copy for copy in copies if copy.packets or is_complete]
        for copy, result in zip(expected, streams, strict=False):
            other = others[copy.index]
            stream = container.streams[result.index]
            name = f"{other.kind} {other.index}"
            checks.append(_check_copy(copy, result, late, tick))
            checks += _check_words(name, other.metadata, other.disposition, stream)
    checks += _check_times(spec, timeline, times, tick)
    if len(streams) != len(expected):
        checks.append(_same("copied streams", len(expected), len(streams)))
    return checks


def _same(name: str, expected: object, value: object, note: str = "") -> Check:
    return Check(name, expected == value, str(expected), str(value), note)


def _rotation(matrix: tuple[int, ...] | None) -> str:
    """The turning and mirroring part of a display matrix, in words."""
    turn = [round((matrix or ())[i] / MATRIX_ONE, 3) for i in TURNING if matrix]
    return "none" if turn in ([], [1, 0, 0, 1]) else str(turn)


def _check_colors(info: VideoInfo, spec: VideoSpec, tags: ColorTags) -> Check:
    note = ""
    if spec.color.matrix != info.color.matrix:
        note = (
            f"matrix {info.color.matrix} written as {spec.color.matrix}, or players "
            "would guess another"
        )
    expected, values = astuple(spec.color), astuple(tags)
    # A range that is not said means limited, and some codecs cannot say it.
    is_same_range = (spec.color.range or LIMITED) == (tags.range or LIMITED)
    is_same = expected[:3] == values[:3] and is_same_range
    return Check("colour tags", is_same, str(expected), str(values), note)


def _check_hdr(expected: HDRMetadata | None, value: HDRMetadata | None) -> Check:
    texts = str(expected or "none"), str(value or "none")
    return Check("HDR metadata", _is_same_hdr(expected, value), *texts)


def _is_same_hdr(expected: HDRMetadata | None, value: HDRMetadata | None) -> bool:
    """Codecs count chromaticity in different small steps, and luminance, too."""
    if expected is None or value is None:
        return expected == value
    levels = expected.max_cll, expected.max_fall
    if levels != (value.max_cll, value.max_fall):
        return False
    numbers, others = _numbers(expected), _numbers(value)
    if len(numbers) != len(others):
        return False
    pairs = zip(numbers, others, strict=True)
    return all(abs(a - b) <= HDR_STEP * max(1, a) for a, b in pairs)


def _numbers(hdr: HDRMetadata) -> list[Fraction]:
    points = [*hdr.primaries]
    if hdr.white:
        points.append(hdr.white)
    if hdr.luminance:
        points.append(hdr.luminance)
    return [number for point in points for number in point]


def _check_bit_depth(info: VideoInfo, bits: int) -> Check:
    expected = max(8, info.layout.bits)
    return Check("bit depth", bits >= expected, str(expected), str(bits))


def _check_alpha(
    spec: VideoSpec, frame: VideoFrame, stream: VideoStream
) -> list[Check]:
    """Whether players will see the alpha channel, if there is to be one."""
    if not spec.has_alpha:
        return []
    is_beside = stream.metadata.get("alpha_mode") == "1"
    has_alpha = is_beside or pixel_layout(frame.format).has_alpha
    return [_same("alpha channel", "kept", "kept" if has_alpha else "absent")]


def _check_tags(
    name: str, expected: Mapping[str, str], tags: Mapping[str, str]
) -> Check:
    missing = ", ".join(missing_tags(expected, tags))
    value = f"all but {missing}" if missing else "all"
    return Check(name, not missing, f"{len(expected)} entries", value, what=missing)


def _check_words(
    name: str, metadata: Mapping[str, str], disposition: int, stream: Stream
) -> list[Check]:
    """Metadata and roles of one stream, if it has any."""
    checks = []
    if metadata:
        checks.append(_check_tags(f"{name} metadata", metadata, stream.metadata))
    if disposition:
        checks.append(_check_roles(name, disposition, stream.disposition))
    return checks


def _check_roles(name: str, expected: int, roles: Disposition) -> Check:
    names = [d.name or "" for d in Disposition if expected & d]
    missing = ", ".join(d.name or "" for d in Disposition if expected & ~roles & d)
    value = f"all but {missing}" if missing else "all"
    title = f"{name} roles"
    return Check(title, not missing, ", ".join(names), value, what=missing)


def _check_chapters(
    expected: Sequence[Any], chapters: Sequence[Any], slack: Fraction
) -> Check:
    """Their number, begin, end and everything said of them."""
    if len(expected) != len(chapters):
        return _same("chapters", len(expected), len(chapters))
    differences: set[str] = set()
    for a, b in zip(expected, chapters, strict=True):
        for key in ("start", "end"):
            distance = a[key] * a["time_base"] - b[key] * b["time_base"]
            if abs(distance) > slack:
                differences.add(key)
        differences |= set(missing_tags(authored_tags(a["metadata"]), b["metadata"]))
    what = ", ".join(sorted(differences))
    value = f"others, by {what}" if what else "equal"
    return Check("chapters", not what, str(len(expected)), value, what=what)


def _check_times(
    spec: VideoSpec, timeline: Timeline, times: list[int], tick: Fraction
) -> list[Check]:
    expected = timeline.shifted()
    checks = [_same("frame count", len(expected), len(times))]
    if len(expected) != len(times):
        return checks
    is_exact = (spec.time_base / tick).denominator == 1
    allowed = Fraction(0) if is_exact else tick
    inputs = [time * spec.time_base for time in expected]
    outputs = [time * tick for time in times]
    notes = [] if is_exact else [f"the container counts in ticks of {tick} s"]
    late = outputs[0] - inputs[0]
    if late > allowed:
        notes.append(
            f"everything starts {float(late):.3f} s later: the container has no times "
            "before zero"
        )
    else:
        late = Fraction(0)
    pairs = zip(inputs, outputs, strict=True)
    worst = max(abs(after - before - late) for before, after in pairs)
    value = f"off by at most {float(worst):.6f} s"
    is_equal = worst <= allowed
    checks.append(Check("timestamps", is_equal, "equal", value, "; ".join(notes)))
    checks.append(_check_duration(inputs, outputs, 2 * allowed))
    return checks


def _check_duration(
    inputs: list[Fraction], outputs: list[Fraction], slack: Fraction
) -> Check:
    expected, value = inputs[-1] - inputs[0], outputs[-1] - outputs[0]
    is_same = abs(expected - value) <= slack
    texts = f"{float(expected):.6f} s", f"{float(value):.6f} s"
    return Check("duration", is_same, *texts)


def _read_packets(path: str) -> tuple[list[int], Fraction, list[Copied]]:
    """Video timestamps in order, their tick, and the contents of every other stream.

    Attached streams come last.
    """
    times: list[int] = []
    with open_input(path, OWN_OUTPUT) as container:
        video = choose_stream(container, path, None).index
        others = [s for s in container.streams if s.index != video and s.type != "data"]
        others.sort(key=_is_attached)
        copies = {stream.index: Copied(stream.index, stream.type) for stream in others}
        for stream in others:
            copies[stream.index].add_attachment(stream)
        tick = container.streams[video].time_base or Fraction(1)
        for packet in container.demux():
            if packet.size == 0 and packet.dts is None and packet.pts is None:
                continue
            if packet.stream_index in copies:
                copies[packet.stream_index].add(packet)
            elif packet.stream_index != video or packet.is_discard:
                continue
            elif packet.pts is not None:
                times.append(packet.pts)
    return sorted(times), tick, list(copies.values())


def _is_attached(stream: Stream) -> bool:
    is_cover = bool(stream.disposition & Disposition.attached_pic)
    return is_cover or isinstance(stream, AttachmentStream)


def _check_copy(
    expected: Copied, copy: Copied, late: Fraction, tick: Fraction
) -> Check:
    """The same bytes, and the same distance to the video, which starts ``late`` seconds
    after its plan.
    """
    is_same = expected.digest.digest() == copy.digest.digest()
    drift = Fraction(0)
    if expected.first is not None and copy.first is not None:
        drift = abs(copy.first - expected.first - late)
    note = ""
    if drift > 2 * tick:
        note = f"starts {float(drift):.4f} s off the video"
    if expected.undecodable:
        note = f"{expected.undecodable} packets of the source cannot be decoded"
    name = f"{expected.kind} {expected.index}"
    is_ok = is_same and not note
    return Check(name, is_ok, _in_words(expected), _in_words(copy), note)


def _in_words(copy: Copied) -> str:
    return f"{copy.packets} packets {copy.digest.hexdigest()[:12]}"
