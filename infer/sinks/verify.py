"""Reads the output back and holds it against the source: nothing but resolution may be
lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any

from av.container import InputContainer
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
        if self.note:
            text = f"{text} ({self.note})"
        return text

    @property
    def loss(self) -> str:
        """The loss in words."""
        if not self.what:
            return self.name
        return f"{self.name} ({self.what})"

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
        first = timeline.shifted()[0]
        late = times[0] * tick - first * spec.time_base
    with open_input(path, OWN_OUTPUT) as container:
        video = choose_stream(container, path, None)
        frame = next(container.decode(video))
        expected_size = f"{spec.width}x{spec.height}"
        size = f"{frame.width}x{frame.height}"
        expected_aspect = spec.sar or Fraction(1)
        aspect = video.sample_aspect_ratio or Fraction(1)
        turn = _rotation(display_matrix(frame))
        bits = pixel_layout(frame.format).bits
        chapters = cut_chapters(info, timeline)
        slack = late + MILLISECOND
        checks = [
            _same("size", expected_size, size),
            _same("sample aspect ratio", expected_aspect, aspect),
            _same("rotation", _rotation(package.matrix), turn),
            _check_colors(info, spec, color_tags(frame, video)),
            _check_bit_depth(info, bits),
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
    is_same = expected == value
    return Check(name, is_same, str(expected), str(value), note)


def _rotation(matrix: tuple[int, ...] | None) -> str:
    """The turning and mirroring part of a display matrix, in words."""
    if not matrix:
        return "none"
    turn = [round(matrix[place] / MATRIX_ONE, 3) for place in TURNING]
    is_upright = turn == [1, 0, 0, 1]
    return "none" if is_upright else str(turn)


def _check_colors(info: VideoInfo, spec: VideoSpec, tags: ColorTags) -> Check:
    note = ""
    if spec.color.matrix != info.color.matrix:
        note = (
            f"matrix {info.color.matrix} written as {spec.color.matrix}, or players "
            "would guess another"
        )
    expected = astuple(spec.color)
    values = astuple(tags)
    # A range that is not said means limited, and some codecs cannot say it.
    is_same_range = (spec.color.range or LIMITED) == (tags.range or LIMITED)
    has_same_codes = expected[:3] == values[:3]
    is_same = has_same_codes and is_same_range
    return Check("colour tags", is_same, str(expected), str(values), note)


def _check_hdr(expected: HDRMetadata | None, value: HDRMetadata | None) -> Check:
    is_same = _is_same_hdr(expected, value)
    expected_text = str(expected or "none")
    text = str(value or "none")
    return Check("HDR metadata", is_same, expected_text, text)


def _is_same_hdr(expected: HDRMetadata | None, value: HDRMetadata | None) -> bool:
    """Codecs count chromaticity in different small steps, and luminance, too."""
    if expected is None or value is None:
        return expected == value
    levels = expected.max_cll, expected.max_fall
    if levels != (value.max_cll, value.max_fall):
        return False
    numbers = _numbers(expected)
    others = _numbers(value)
    if len(numbers) != len(others):
        return False
    for number, other in zip(numbers, others, strict=True):
        slack = HDR_STEP * max(1, number)
        if abs(number - other) > slack:
            return False
    return True


def _numbers(hdr: HDRMetadata) -> list[Fraction]:
    points = [*hdr.primaries]
    if hdr.white:
        points.append(hdr.white)
    if hdr.luminance:
        points.append(hdr.luminance)
    return [number for point in points for number in point]


def _check_bit_depth(info: VideoInfo, bits: int) -> Check:
    # More is no loss, and no encoder here has less than 8.
    expected = max(8, info.layout.bits)
    is_enough = bits >= expected
    return Check("bit depth", is_enough, str(expected), str(bits))


def _check_alpha(
    spec: VideoSpec, frame: VideoFrame, stream: VideoStream
) -> list[Check]:
    """Whether players will see the alpha channel, if there is to be one."""
    if not spec.has_alpha:
        return []
    # VP9 has alpha in a second picture, which FFmpeg's own decoder leaves alone.
    is_beside = stream.metadata.get("alpha_mode") == "1"
    has_alpha = is_beside or pixel_layout(frame.format).has_alpha
    value = "kept" if has_alpha else "absent"
    return [_same("alpha channel", "kept", value)]


def _check_tags(
    name: str, expected: Mapping[str, str], tags: Mapping[str, str]
) -> Check:
    missing = ", ".join(missing_tags(expected, tags))
    count = f"{len(expected)} entries"
    return Check(name, not missing, count, _all_but(missing), what=missing)


def _all_but(missing: str) -> str:
    return f"all but {missing}" if missing else "all"


def _check_words(
    name: str, metadata: Mapping[str, str], disposition: int, stream: Stream
) -> list[Check]:
    """Metadata and roles of one stream, if it has any."""
    checks = []
    if metadata:
        title = f"{name} metadata"
        checks.append(_check_tags(title, metadata, stream.metadata))
    if disposition:
        checks.append(_check_roles(name, disposition, stream.disposition))
    return checks


def _check_roles(name: str, expected: int, roles: Disposition) -> Check:
    names = _role_names(expected)
    # Further roles are no loss: mp4 makes the first track of a kind the default.
    missing = _role_names(expected & ~roles)
    title = f"{name} roles"
    return Check(title, not missing, names, _all_but(missing), what=missing)


def _role_names(roles: int) -> str:
    names = [role.name or "" for role in Disposition if roles & role]
    return ", ".join(names)


def _check_chapters(
    expected: Sequence[Any], chapters: Sequence[Any], slack: Fraction
) -> Check:
    """Their number, begin, end and everything said of them."""
    if len(expected) != len(chapters):
        return _same("chapters", len(expected), len(chapters))
    differences: set[str] = set()
    for before, after in zip(expected, chapters, strict=True):
        for key in ("start", "end"):
            planned = before[key] * before["time_base"]
            actual = after[key] * after["time_base"]
            if abs(planned - actual) > slack:
                differences.add(key)
        words = authored_tags(before["metadata"])
        differences.update(missing_tags(words, after["metadata"]))
    what = ", ".join(sorted(differences))
    value = f"others, by {what}" if what else "equal"
    count = str(len(expected))
    return Check("chapters", not what, count, value, what=what)


def _check_times(
    spec: VideoSpec, timeline: Timeline, times: list[int], tick: Fraction
) -> list[Check]:
    expected = timeline.shifted()
    checks = [_same("frame count", len(expected), len(times))]
    if len(expected) != len(times):
        return checks
    num_ticks = spec.time_base / tick
    is_exact = num_ticks.denominator == 1
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
    note = "; ".join(notes)
    checks.append(Check("timestamps", is_equal, "equal", value, note))
    # Both ends may be rounded.
    checks.append(_check_duration(inputs, outputs, 2 * allowed))
    return checks


def _check_duration(
    inputs: list[Fraction], outputs: list[Fraction], slack: Fraction
) -> Check:
    expected = inputs[-1] - inputs[0]
    value = outputs[-1] - outputs[0]
    is_same = abs(expected - value) <= slack
    expected_text = f"{float(expected):.6f} s"
    text = f"{float(value):.6f} s"
    return Check("duration", is_same, expected_text, text)


def _read_packets(path: str) -> tuple[list[int], Fraction, list[Copied]]:
    """Video timestamps in order, their tick, and the contents of every other stream.

    Attached streams come last.
    """
    times: list[int] = []
    with open_input(path, OWN_OUTPUT) as container:
        video = choose_stream(container, path, None).index
        copies = _empty_copies(container, video)
        tick = container.streams[video].time_base or Fraction(1)
        for packet in container.demux():
            has_time = packet.dts is not None or packet.pts is not None
            if packet.size == 0 and not has_time:
                # PyAV's packet that ends a stream.
                continue
            copy = copies.get(packet.stream_index)
            if copy is not None:
                copy.add(packet)
            elif packet.stream_index != video or packet.is_discard:
                continue
            elif packet.pts is not None:
                times.append(packet.pts)
    return sorted(times), tick, list(copies.values())


def _empty_copies(container: InputContainer, video: int) -> dict[int, Copied]:
    """The other streams by index, with the files in the header counted already."""
    others = []
    for stream in container.streams:
        # Data tracks are none of the copied streams: mp4 and mov have their time code
        # and the titles of chapters in them.
        if stream.index != video and stream.type != "data":
            others.append(stream)
    others.sort(key=_is_attached)
    copies = {}
    for stream in others:
        copy = Copied(stream.index, stream.type)
        copy.add_attachment(stream)
        copies[stream.index] = copy
    return copies


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
    digest = copy.digest.hexdigest()
    return f"{copy.packets} packets {digest[:12]}"
