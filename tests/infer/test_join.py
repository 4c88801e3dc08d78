"""The media layer changes nothing on the way: times, sound, tags,
rotation, shape, depth.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import make_video, spec_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infer.sinks.containers import SUFFIXES, Packaging, unsupported_streams
from infer.sinks.dry_run import choose_packaging
from infer.sinks.mux import join
from infer.sinks.segments import SegmentWriter
from infer.sinks.timeline import Timeline
from infer.sinks.verify import check_output
from infer.sources.files import read_frames
from infer.sources.info import ColorTags
from infer.sources.probe import open_input, probe


def copy_through(
    path: str,
    folder: Path,
    muxer: str,
    group: int = 4,
    start: int = 0,
    **changes: object,
):
    """Decode, encode in segments, join; returns the output's path, the failed checks
    and all checks.
    """
    info = probe(path)
    values = {
        "rate": info.rate,
        "color": info.color,
        "matrix": info.matrix,
        "sar": info.sar,
        "hdr": info.hdr,
    }
    spec = spec_for((info.width, info.height), info.time_base, **{**values, **changes})
    frames = list(read_frames(info, start))
    segments = []
    for number in range(0, len(frames), group):
        writer = SegmentWriter(str(folder / f"{number}.mkv"), spec, group)
        for frame in frames[number : number + group]:
            writer.write(frame.rgb, frame.pts, frame.duration)
        segments.append(writer.close())
    times = tuple(f.pts for f in frames), tuple(f.duration for f in frames)
    origin = times[0][0] * info.time_base if start else info.start
    timeline = Timeline(*times, info.time_base, origin, begins_late=start > 0)
    remains = [
        s.index for s in info.others if s not in unsupported_streams(info, muxer)
    ]
    output = str(folder / f"out{SUFFIXES[muxer]}")
    package, _ = choose_packaging(
        info, spec, Packaging(muxer, tuple(remains), info.display_matrix)
    )
    copied = join(output, package, spec, segments, info, timeline)
    checks = check_output(output, package, spec, info, timeline, copied)
    return output, [str(c) for c in checks if not c.ok], checks


@settings(
    # Each encodes twice with B-frames, of which eight are seconds.
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=10),
    base=st.sampled_from(
        [Fraction(1, 600), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 25)]
    ),
    group=st.integers(1, 5),
)
def test_any_timestamps_survive_any_segmenting(tmp_path, steps, base, group):
    """Also with B-frames, whose order of decoding is not the order of display."""
    # steps of a sixtieth or a thirtieth of a second, as such clocks have them
    factors = {Fraction(1, 90000): 1500, Fraction(1, 600): 20}
    factor = factors.get(base, 1)
    pts = (np.cumsum([0, *steps]) * factor).tolist()
    source = make_video(str(tmp_path / "in.mp4"), pts, base=base)
    output, failures, _ = copy_through(source, tmp_path, "mp4", group, preset="medium")
    assert failures == []
    expected = [ticks * base for ticks in pts]
    assert times_of(source) == expected
    assert times_of(output) == expected


def times_of(path: str) -> list[Fraction]:
    """Seconds at which the pictures of a file are shown."""
    info = probe(path)
    return [frame.pts * info.time_base for frame in read_frames(info)]


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska"])
def test_sound_chapters_metadata_and_shape_survive(tmp_path, muxer):
    source = make_video(
        str(tmp_path / "in.mp4"),
        range(10),
        audio="aac",
        sar=Fraction(64, 45),
        metadata={"title": "a b"},
        chapters=[(0, 0.2, "one"), (0.2, 0.4, "two")],
    )
    output, failures, checks = copy_through(source, tmp_path, muxer)
    assert failures == []
    assert {"audio 1", "chapters", "metadata", "sample aspect ratio"} <= {
        c.name for c in checks
    }
    with open_input(output) as container:
        titles = [c["metadata"]["title"] for c in container.chapters()]
    assert titles == ["one", "two"]


# A quarter turn, and one with a mirror; 65536 and 1 << 30 are ones in fixed point.
QUARTER = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
MIRRORED = (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize("matrix", [QUARTER, MIRRORED])
def test_rotation_survives(tmp_path, matrix, muxer):
    source = make_video(str(tmp_path / "in.mp4"), matrix=matrix)
    output, failures, _ = copy_through(source, tmp_path, muxer)
    assert failures == []
    assert probe(output).display_matrix == matrix


def test_ten_bit_hdr_survives(tmp_path):
    # P3 on a display of 1,000 candelas, as x265 counts: in 1/50000 and 1/10000.
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    params = f"log-level=none:master-display={display}:max-cll=1000,400"
    source = make_video(
        str(tmp_path / "in.mp4"),
        codec="libx265",
        pixel_format="yuv420p10le",
        size=(64, 64),
        color=ColorTags(9, 16, 9, 1),
        options={"x265-params": params},
    )
    info = probe(source)
    assert info.hdr is not None
    assert info.hdr.max_cll == 1000
    output, failures, _ = copy_through(
        source, tmp_path, "mp4", encoder="libx265", pixel_format="yuv420p10le"
    )
    assert failures == []
    assert probe(output).layout.bits == 10
    assert next(read_frames(probe(output))).rgb.dtype == np.uint16


@pytest.mark.parametrize(
    "color", [ColorTags(1, 1, 1, 1), ColorTags(5, 6, 5, 2), ColorTags(9, 18, 9, 1)]
)
def test_colour_tags_survive(tmp_path, color):
    source = make_video(str(tmp_path / "in.mkv"), color=color)
    assert probe(source).color == color
    output, failures, _ = copy_through(source, tmp_path, "mp4")
    assert failures == []
    assert probe(output).color == color


def test_the_check_can_fail(tmp_path):
    source = make_video(
        str(tmp_path / "in.mp4"), range(8), audio="aac", sar=Fraction(4, 3)
    )
    _, failures, _ = copy_through(
        source, tmp_path, "mp4", sar=Fraction(1), color=ColorTags(1, 1, 1, 1)
    )
    assert failures == []  # as planned; now hold the result against another plan
    info = probe(source)
    spec = spec_for(
        (info.width, info.height),
        info.time_base,
        sar=Fraction(4, 3),
        color=ColorTags(1, 1, 1, 1),
    )
    timeline = Timeline((0, 1), (1, 1), Fraction(1, 25))
    output = str(tmp_path / "out.mp4")
    checks = check_output(
        output,
        Packaging("mp4", (), QUARTER),
        spec,
        info,
        timeline,
        [],
    )
    names = {c.name for c in checks if not c.ok}
    assert names >= {
        "sample aspect ratio",
        "rotation",
        "frame count",
        "copied streams",
    }


@pytest.mark.parametrize(
    "name",
    [
        "webcam_vfr.mov",
        "phone_h263.3gp",
        "mpeg2_short.ts",
        "rotate_and_reflect.mp4",
        "nasa_lowres_2audio.mp4",
    ],
)
def test_real_clips(tmp_path, clip, name):
    # MP4 does not take its sound, AMR.
    muxer = "mov" if name == "phone_h263.3gp" else "mp4"
    _, failures, checks = copy_through(clip(name), tmp_path, muxer, group=60)
    assert failures == []
    assert any(c.name.startswith("audio") for c in checks)


def test_containers_are_asked_before_the_job(clip):
    info = probe(clip("phone_h263.3gp"))
    codecs = [s.codec for s in unsupported_streams(info, "matroska")]
    assert codecs == ["amr_nb"]
    assert unsupported_streams(probe(clip("phone_h263.3gp")), "mov") == []
    kinds = [
        s.kind
        for s in unsupported_streams(probe(clip("nasa_lowres_2audio.mp4")), "matroska")
    ]
    assert kinds == ["subtitle", "subtitle"]
