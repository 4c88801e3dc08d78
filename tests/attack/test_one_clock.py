"""Pictures and copied packets share one clock, which goes on through joints, restarts
and gaps, and begins at zero.
"""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.attack.conftest import Upscale
from tests.attack.outcome import (
    num_pictures,
    picture_times,
    sound_seconds,
    sound_times,
    steps,
)
from tests.attack.recordings import join, record

FRAME = Fraction(1, 25)
SLACK = FRAME
"""A joint may be off by one picture, because the parts' sounds end where they end."""


class Kind(NamedTuple):
    """A container whose recordings can be joined byte by byte."""

    suffix: str
    muxer: str
    codec: str
    sound: str


JOINED = [
    Kind(".ts", "mpegts", "libx264", "mp2"),
    Kind(".ts", "mpegts", "mpeg2video", "aac"),
    Kind(".vob", "vob", "mpeg2video", "mp2"),
    Kind(".flv", "flv", "flv1", "mp3"),
]
JOINTS = {"restarts": 0.0, "jumps ahead": 240.0}
"""Seconds at which the clock of the second part begins."""


def parts_of(kind: Kind, folder: Path, begin: float, first: float = 0) -> list[Path]:
    """Two recordings of twelve pictures; the second begins at ``begin`` seconds."""
    paths = []
    for number, late in enumerate((first, begin), 1):
        path = folder / f"{number}{kind.suffix}"
        record(path, kind.muxer, kind.codec, kind.sound, begin=late)
        paths.append(path)
    return paths


def check_steady(path: Path, count: int) -> None:
    """``count`` pictures about 40 ms apart, from the beginning of the output on."""
    times = picture_times(path)
    assert len(times) == count
    distances = steps(times)
    # two pictures and more at a joint would be seen as a halt, and less than half of
    # one as a jerk
    assert max(distances) <= 90, distances
    assert min(distances) >= 15, distances
    # B-frames put the first picture up to two frames behind the first packet.
    assert times[0] <= 2 * FRAME
    span = times[-1] - times[0]
    expected = (count - 1) * FRAME
    assert abs(span - expected) <= SLACK


def check_in_step(path: Path, parts: list[Path]) -> None:
    """The second part's sound begins as far from its picture as in the part itself."""
    first, second = parts
    second_pictures = picture_times(second)
    second_sounds = sound_times(second)
    distance = second_pictures[0] - second_sounds[0]
    num_packets = len(sound_times(first))
    num_frames = len(picture_times(first))
    pictures = picture_times(path)
    sounds = sound_times(path)
    assert len(sounds) == num_packets + len(second_sounds)
    joint = pictures[num_frames] - sounds[num_packets]
    assert abs(joint - distance) <= SLACK


@pytest.mark.parametrize("joint", JOINTS)
@pytest.mark.parametrize("kind", JOINED, ids=lambda k: f"{k.muxer}-{k.codec}")
def test_joined_recordings_go_on_without_collapse_or_gap(
    upscale: Upscale, tmp_path: Path, kind: Kind, joint: str
) -> None:
    parts = parts_of(kind, tmp_path, JOINTS[joint])
    source = join(tmp_path / f"in{kind.suffix}", *parts)
    output = tmp_path / "o.mkv"
    upscale("--video", source, "-o", output).check_done()
    check_steady(output, 24)
    check_in_step(output, parts)


def test_a_clock_that_jumps_back_goes_on(upscale: Upscale, tmp_path: Path) -> None:
    # Fourteen hours, and then five seconds.
    parts = parts_of(JOINED[0], tmp_path, begin=5, first=50_000)
    source = join(tmp_path / "in.ts", *parts)
    output = tmp_path / "o.mkv"
    upscale("--video", source, "-o", output).check_done()
    check_steady(output, 24)


@pytest.mark.parametrize("part", range(3))
def test_frames_can_be_counted_across_joints(
    upscale: Upscale, tmp_path: Path, part: int
) -> None:
    """--start and --frames cut a joined recording anywhere; the part begins at zero."""
    parts = parts_of(JOINED[0], tmp_path, 0)
    source = join(tmp_path / "in.ts", *parts)
    # Before the joint at frame 12, over it, and behind it.
    start = (2, 11, 14)[part]
    output = tmp_path / "o.mkv"
    words = ("--start", start, "--frames", 6, "-o", output)
    upscale("--video", source, *words).check_done()
    check_steady(output, 6)


def test_the_reported_restart(upscale: Upscale, tmp_path: Path, field) -> None:
    output = tmp_path / "o.mkv"
    outcome = upscale("-i", field("clock_restarts.ts"), "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    check_steady(output, 50)
    # As many packets as the source has.
    assert len(sound_times(output)) == 84


def test_the_reported_jump(upscale: Upscale, tmp_path: Path, field) -> None:
    source = field("clock_jumps_ahead_100s.ts")
    output = tmp_path / "o.mkv"
    upscale("-i", source, "-o", output).check_done()
    check_steady(output, 16)


LATE = [
    Kind(".mkv", "matroska", "libx264", "aac"),
    Kind(".mp4", "mp4", "libx264", "aac"),
    Kind(".mov", "mov", "mpeg4", "pcm_s16le"),
    Kind(".nut", "nut", "ffv1", "flac"),
    *JOINED,
]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("kind", LATE, ids=lambda k: f"{k.muxer}-{k.codec}")
def test_a_late_start_becomes_the_beginning(
    upscale: Upscale, tmp_path: Path, kind: Kind, suffix: str
) -> None:
    """A source whose first time is an hour; its number of frames is not its end."""
    source = tmp_path / f"in{kind.suffix}"
    # A delay of the author's is shorter than an hour.
    record(source, kind.muxer, kind.codec, kind.sound, begin=3600)
    words = ("--drop-streams", "-o", tmp_path / f"o{suffix}")
    outcome = upscale("--video", source, *words)
    outcome.check_done()
    check_steady(tmp_path / f"o{suffix}", 12)
    expected = outcome.text.split(" frames,")[0].split()[-1]
    assert int(expected) == 12, outcome.text


def test_the_reported_hour(upscale: Upscale, tmp_path: Path, field) -> None:
    output = tmp_path / "o.mp4"
    outcome = upscale("-i", field("begins_at_3600s.mkv"), "-o", output)
    outcome.check_done()
    assert " 25 frames, " in outcome.text
    check_steady(output, 25)
    assert Fraction(9, 10) < sound_seconds(output) < Fraction(11, 10)


def test_times_that_a_container_does_not_say(
    upscale: Upscale, tmp_path: Path, field
) -> None:
    """H.264 with B-frames in AVI has times of decoding only."""
    output = tmp_path / "o.mkv"
    outcome = upscale("-i", field("h264_bframes.avi"), "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    # 25 pictures, and 40 ms from each to the next.
    assert steps(picture_times(output)) == {40: 24}


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_in_avi_are_shown_in_order(
    upscale: Upscale, tmp_path: Path, codec: str
) -> None:
    source = record(tmp_path / "in.avi", "avi", codec, options={"bf": "2"})
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_done()
    assert outcome.warnings == []
    times = picture_times(output)
    assert num_pictures(source) == len(times)
    assert set(steps(times)) == {40}
