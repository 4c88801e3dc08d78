"""Nothing lost but resolution: read the output back and hold it against what the source had."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any

from av.stream import Disposition

from infer.media.codecs import VideoSpec
from infer.media.info import LIMITED, VideoInfo
from infer.media.join import Copied, Timeline
from infer.media.probe import color_tags, display_matrix, hdr_metadata, open_input, pixel_layout


@dataclass(frozen=True)
class Check:
    """One property of the output: whether it is as expected, both values, and why where it may differ."""

    name: str
    ok: bool
    expected: str
    found: str
    note: str = ""

    def __str__(self) -> str:
        text = self.name if self.ok else f"{self.name} {self.found} instead of {self.expected}"
        return f"{text} ({self.note})" if self.note else text

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_output(
    path: str,
    spec: VideoSpec,
    info: VideoInfo,
    timeline: Timeline,
    matrix: tuple[int, ...] | None,
    copied: Sequence[Copied],
) -> list[Check]:
    """Compare the finished file with the plan and the source, reading every packet of it."""
    with open_input(path) as container:
        video = next(s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
        index = video.index  # a stream must not be touched after its container is closed
        frame = next(container.decode(video))
        checks = [
            _same("size", f"{spec.width}x{spec.height}", f"{frame.width}x{frame.height}"),
            _same("sample aspect ratio", spec.sar or Fraction(1), video.sample_aspect_ratio or Fraction(1)),
            _same("rotation", _rotation(matrix), _rotation(display_matrix(frame))),
            _colors(info, spec, color_tags(frame, video)),
            _bit_depth(info, pixel_layout(frame.format).bits),
            _same("HDR metadata", info.hdr or "none", hdr_metadata(frame) or "none"),
            _same("chapters", len(info.chapters), len(container.chapters())),
            _metadata(info.metadata, dict(container.metadata)),
        ]
    times, tick, found = _read_packets(path, index)
    checks += _times(spec, timeline, times, tick)
    late = times[0] * tick - timeline.shifted()[0] * spec.time_base if times else Fraction(0)
    checks += [_copy(wanted, got, late, tick) for wanted, got in zip(copied, found, strict=False)]
    if len(found) != len(copied):
        checks.append(_same("copied streams", len(copied), len(found)))
    return checks


def _same(name: str, expected: object, found: object, note: str = "") -> Check:
    return Check(name, expected == found, str(expected), str(found), note)


def _rotation(matrix: tuple[int, ...] | None) -> str:
    """The turning and mirroring part; the shift part only matters to players that do not centre the picture."""
    turn = [round(v / 65536, 3) for i, v in enumerate(matrix or ()) if i in (0, 1, 3, 4)]
    return "none" if turn in ([], [1, 0, 0, 1]) else str(turn)


def _colors(info: VideoInfo, spec: VideoSpec, found: Any) -> Check:
    note = ""
    if spec.color.matrix != info.color.matrix:
        note = f"matrix {info.color.matrix} written as {spec.color.matrix}, or players would guess another"
    wanted, got = astuple(spec.color), astuple(found)
    # a range that is not said means limited, and some codecs cannot say it
    same = wanted[:3] == got[:3] and (wanted[3] or LIMITED) == (got[3] or LIMITED)
    return Check("colour tags", same, str(wanted), str(got), note)


def _bit_depth(info: VideoInfo, found: int) -> Check:
    wanted = max(8, info.layout.bits)
    return Check("bit depth", found >= wanted, str(wanted), str(found))


def _metadata(expected: dict[str, str], found: dict[str, str]) -> Check:
    lost = sorted(k for k, v in expected.items() if found.get(k) != v)
    return Check("metadata", not lost, f"{len(expected)} entries", f"all but {', '.join(lost)}" if lost else "all")


def _times(spec: VideoSpec, timeline: Timeline, times: list[int], tick: Fraction) -> list[Check]:
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
        notes.append(f"everything starts {float(late):.3f} s later: the container has no times before zero")
    worst = max(abs(o - i - (late if late > allowed else 0)) for i, o in zip(inputs, outputs, strict=True))
    text = f"off by at most {float(worst):.6f} s"
    checks.append(Check("timestamps", worst <= allowed, "equal", text, "; ".join(notes)))
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


def _read_packets(path: str, video: int) -> tuple[list[int], Fraction, list[Copied]]:
    """Video timestamps in order, their tick, and what every other stream holds."""
    times: list[int] = []
    with open_input(path) as container:
        others = [s for s in container.streams if s.index != video and s.type != "data"]
        copies = {s.index: Copied(s.index, s.type) for s in others}
        tick = container.streams[video].time_base or Fraction(1)
        for packet in container.demux():
            if packet.size == 0 and packet.dts is None and packet.pts is None:
                continue
            if packet.stream_index != video:
                copies[packet.stream_index].add(packet) if packet.stream_index in copies else None
            elif not packet.is_discard and packet.pts is not None:
                times.append(packet.pts)
    return sorted(times), tick, list(copies.values())


def _copy(wanted: Copied, found: Copied, late: Fraction, tick: Fraction) -> Check:
    """The same bytes, and the same distance to the video, which starts ``late`` seconds after its plan."""
    same = wanted.digest.digest() == found.digest.digest()
    drift = Fraction(0)
    if wanted.first is not None and found.first is not None:
        drift = abs(found.first - wanted.first - late)
    described = [f"{c.packets} packets {c.digest.hexdigest()[:12]}" for c in (wanted, found)]
    note = f"starts {float(drift):.4f} s off the video" if drift > 2 * tick else ""
    return Check(f"{wanted.kind} {wanted.index}", same and not note, described[0], described[1], note)
