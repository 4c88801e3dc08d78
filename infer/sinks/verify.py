"""Nothing lost but resolution: read the output back and hold it against what the source
had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any

from av.stream import AttachmentStream, Disposition, Stream

from infer.sinks.containers import Packaging
from infer.sinks.encoders import VideoSpec
from infer.sinks.mux import Copied, Timeline, cut_chapters
from infer.sources.info import LIMITED, OWN_OUTPUT, HDRMetadata, VideoInfo
from infer.sources.probe import (
    choose_stream,
    color_tags,
    display_matrix,
    hdr_metadata,
    open_input,
    pixel_layout,
)
from infer.tags import lost, said

HDR_STEP = Fraction(1, 10_000)
"""Luminance of x265; the others' steps are smaller."""
MILLISECOND = Fraction(1, 1000)
"""The clock of chapters in mp4."""


@dataclass(frozen=True)
class Check:
    """One property of the output: whether it is as expected, both values, and why where
    it may differ.
    """

    name: str
    ok: bool
    expected: str
    found: str
    note: str = ""
    what: str = ""
    """The part of it that is not as expected, where it has parts."""

    def __str__(self) -> str:
        text = (
            self.name
            if self.ok
            else f"{self.name} {self.found} instead of {self.expected}"
        )
        return f"{text} ({self.note})" if self.note else text

    @property
    def loss(self) -> str:
        """What is lost, in words."""
        return f"{self.name} ({self.what})" if self.what else self.name

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_output(
    path: str,
    package: Packaging,
    spec: VideoSpec,
    info: VideoInfo,
    timeline: Timeline,
    copied: Sequence[Copied],
) -> list[Check]:
    """Compare the finished file with the plan and the source, reading every packet of
    it.
    """
    times, tick, found = _read_packets(path)
    late = (
        times[0] * tick - timeline.shifted()[0] * spec.time_base
        if times
        else Fraction(0)
    )
    with open_input(path, OWN_OUTPUT) as container:
        video = choose_stream(container, path, None)
        frame = next(container.decode(video))
        checks = [
            _same(
                "size", f"{spec.width}x{spec.height}", f"{frame.width}x{frame.height}"
            ),
            _same(
                "sample aspect ratio",
                spec.sar or Fraction(1),
                video.sample_aspect_ratio or Fraction(1),
            ),
            _same(
                "rotation", _rotation(package.matrix), _rotation(display_matrix(frame))
            ),
            _colors(info, spec, color_tags(frame, video)),
            _bit_depth(info, pixel_layout(frame.format).bits),
            _hdr(info.hdr, hdr_metadata(frame)),
            _chapters(
                cut_chapters(info, timeline), container.chapters(), late + MILLISECOND
            ),
            _metadata("metadata", info.metadata, container.metadata),
            *_said("video", info.stream_metadata, info.disposition, video),
        ]
        kinds = {o.index: o for o in info.others}
        kept = [
            c for c in copied if c.packets or len(found) == len(copied)
        ]  # mp4 leaves out empty tracks
        for wanted, got in zip(kept, found, strict=False):
            other, stream = kinds[wanted.index], container.streams[got.index]
            checks.append(_copy(wanted, got, late, tick))
            checks += _said(
                f"{other.kind} {other.index}", other.metadata, other.disposition, stream
            )
    checks += _times(spec, timeline, times, tick)
    if len(found) != len(kept):
        checks.append(_same("copied streams", len(kept), len(found)))
    return checks


def _same(name: str, expected: object, found: object, note: str = "") -> Check:
    return Check(name, expected == found, str(expected), str(found), note)


def _rotation(matrix: tuple[int, ...] | None) -> str:
    """The turning and mirroring part; the shift part only matters to players that do
    not centre the picture.
    """
    turn = [
        round(v / 65536, 3) for i, v in enumerate(matrix or ()) if i in (0, 1, 3, 4)
    ]
    return "none" if turn in ([], [1, 0, 0, 1]) else str(turn)


def _colors(info: VideoInfo, spec: VideoSpec, found: Any) -> Check:
    note = ""
    if spec.color.matrix != info.color.matrix:
        note = f"matrix {info.color.matrix} written as {spec.color.matrix}, or players would guess another"
    wanted, got = astuple(spec.color), astuple(found)
    # a range that is not said means limited, and some codecs cannot say it
    same = wanted[:3] == got[:3] and (wanted[3] or LIMITED) == (got[3] or LIMITED)
    return Check("colour tags", same, str(wanted), str(got), note)


def _hdr(wanted: HDRMetadata | None, found: HDRMetadata | None) -> Check:
    """Codecs count chromaticity in different small steps, and luminance, too."""
    same = wanted == found
    if (
        wanted
        and found
        and (wanted.max_cll, wanted.max_fall) == (found.max_cll, found.max_fall)
    ):
        pairs = [_numbers(m) for m in (wanted, found)]
        same = len(pairs[0]) == len(pairs[1]) and all(
            abs(a - b) <= HDR_STEP * max(1, a) for a, b in zip(*pairs, strict=True)
        )
    return Check("HDR metadata", same, str(wanted or "none"), str(found or "none"))


def _numbers(hdr: HDRMetadata) -> list[Fraction]:
    points = [
        *hdr.primaries,
        *([hdr.white] if hdr.white else []),
        *([hdr.luminance] if hdr.luminance else []),
    ]
    return [number for point in points for number in point]


def _bit_depth(info: VideoInfo, found: int) -> Check:
    wanted = max(8, info.layout.bits)
    return Check("bit depth", found >= wanted, str(wanted), str(found))


def _metadata(
    name: str, expected: Mapping[str, str], found: Mapping[str, str]
) -> Check:
    gone = ", ".join(lost(expected, found))
    return Check(
        name,
        not gone,
        f"{len(expected)} entries",
        f"all but {gone}" if gone else "all",
        what=gone,
    )


def _said(
    name: str, metadata: Mapping[str, str], disposition: int, found: Stream
) -> list[Check]:
    """What is said of one stream: its metadata and its roles."""
    gone = [d.name or "" for d in Disposition if disposition & ~found.disposition & d]
    roles = ", ".join(gone)
    text = f"all but {roles}" if gone else "all"
    checks = [
        _metadata(f"{name} metadata", metadata, found.metadata),
        Check(
            f"{name} roles",
            not gone,
            ", ".join(d.name or "" for d in Disposition if disposition & d),
            text,
            what=roles,
        ),
    ]
    return [
        c
        for c, any_said in zip(checks, (metadata, disposition), strict=True)
        if any_said
    ]


def _chapters(wanted: Sequence[Any], found: Sequence[Any], slack: Fraction) -> Check:
    """Their number, begin, end and everything said of them."""
    if len(wanted) != len(found):
        return _same("chapters", len(wanted), len(found))
    gone = set()
    for a, b in zip(wanted, found, strict=True):
        gone |= {
            key
            for key in ("start", "end")
            if abs(a[key] * a["time_base"] - b[key] * b["time_base"]) > slack
        }
        gone |= set(lost(said(a["metadata"]), b["metadata"]))
    what = ", ".join(sorted(gone))
    return Check(
        "chapters",
        not gone,
        str(len(wanted)),
        f"others, by {what}" if gone else "equal",
        what=what,
    )


def _times(
    spec: VideoSpec, timeline: Timeline, times: list[int], tick: Fraction
) -> list[Check]:
    wanted = timeline.shifted()
    checks = [_same("frame count", len(wanted), len(times))]
    if len(wanted) != len(times):
        return checks
    exact = (spec.time_base / tick).denominator == 1
    allowed = Fraction(0) if exact else tick
    inputs, outputs = [t * spec.time_base for t in wanted], [t * tick for t in times]
    late = outputs[0] - inputs[0]
    notes = [] if exact else [f"the container counts in ticks of {tick} s"]
    if late > allowed:
        notes.append(
            f"everything starts {float(late):.3f} s later: the container has no times before zero"
        )
    worst = max(
        abs(o - i - (late if late > allowed else 0))
        for i, o in zip(inputs, outputs, strict=True)
    )
    text = f"off by at most {float(worst):.6f} s"
    checks.append(
        Check("timestamps", worst <= allowed, "equal", text, "; ".join(notes))
    )
    spans = [i[-1] - i[0] for i in (inputs, outputs)]
    checks.append(
        Check(
            "duration",
            abs(spans[0] - spans[1]) <= 2 * allowed,
            f"{float(spans[0]):.6f} s",
            f"{float(spans[1]):.6f} s",
        )
    )
    return checks


def _read_packets(path: str) -> tuple[list[int], Fraction, list[Copied]]:
    """Video timestamps in order, their tick, and what every other stream holds,
    attached ones last.
    """
    times: list[int] = []
    with open_input(path, OWN_OUTPUT) as container:
        video = choose_stream(container, path, None).index
        others = [s for s in container.streams if s.index != video and s.type != "data"]
        others.sort(
            key=lambda s: (
                isinstance(s, AttachmentStream)
                or bool(s.disposition & Disposition.attached_pic)
            )
        )
        copies = {s.index: Copied(s.index, s.type) for s in others}
        for stream in others:
            copies[stream.index].add_attachment(stream)
        tick = container.streams[video].time_base or Fraction(1)
        for packet in container.demux():
            if packet.size == 0 and packet.dts is None and packet.pts is None:
                continue
            if packet.stream_index != video:
                copies[packet.stream_index].add(
                    packet
                ) if packet.stream_index in copies else None
            elif not packet.is_discard and packet.pts is not None:
                times.append(packet.pts)
    return sorted(times), tick, list(copies.values())


def _copy(wanted: Copied, found: Copied, late: Fraction, tick: Fraction) -> Check:
    """The same bytes, and the same distance to the video, which starts ``late`` seconds
    after its plan.
    """
    same = wanted.digest.digest() == found.digest.digest()
    drift = Fraction(0)
    if wanted.first is not None and found.first is not None:
        drift = abs(found.first - wanted.first - late)
    described = [
        f"{c.packets} packets {c.digest.hexdigest()[:12]}" for c in (wanted, found)
    ]
    note = f"starts {float(drift):.4f} s off the video" if drift > 2 * tick else ""
    return Check(
        f"{wanted.kind} {wanted.index}",
        same and not note,
        described[0],
        described[1],
        note,
    )
