"""Files joined or cut anywhere have one clock, for pictures and copied packets."""

import functools
import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infer.sources.clock import demux_unbroken
from infer.sources.files import Damage, FileSource, read_frames
from infer.sources.opener import open_input
from infer.sources.probe import probe

FPS, RATE, SAMPLES = 25, 48_000, 1152
COUNT = 6
"""Frames of a part; ten packets of sound last as long."""
FRAME = Fraction(1, FPS)
DATA = Path(__file__).parents[1] / "data" / "field"


@functools.lru_cache(maxsize=64)
def part(start: int, muxer: str) -> bytes:
    """A quarter of a second of pictures and sound whose clock begins at ``start`` s."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as output:
        video = output.add_stream("mpeg2video", rate=FPS)
        video.width = 32
        video.height = 32
        video.pix_fmt = "yuv420p"
        sound = output.add_stream("mp2", rate=RATE)
        for number in range(COUNT):
            level = 40 * number
            picture = np.full((32, 32, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = start * FPS + number
            frame.time_base = FRAME
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        num_packets = COUNT * RATE // FPS // SAMPLES
        for number in range(num_packets):
            silence = np.zeros((1, SAMPLES), np.int16)
            tone = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            tone.rate = RATE
            tone.pts = start * RATE + number * SAMPLES
            tone.time_base = Fraction(1, RATE)
            output.mux(sound.encode(tone))
        output.mux(sound.encode(None))
    return buffer.getvalue()


def times_of(path: str, kind: str) -> list[Fraction]:
    """Seconds of the packets of a stream, as they are copied."""
    with open_input(path) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        packets = demux_unbroken(container, streams[:1])
        return [p.pts * p.time_base for p in packets if p.pts is not None]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(starts=st.lists(st.integers(0, 90_000), min_size=1, max_size=4))
def test_time_goes_on_wherever_the_clock_of_the_next_part_begins(
    tmp_path: Path, starts: list[int]
) -> None:
    path = tmp_path / "in.ts"
    parts = [part(start, "mpegts") for start in starts]
    path.write_bytes(b"".join(parts))
    source = FileSource(probe(str(path)))
    ticks = [frame.pts for frame in source.frames()]
    base = source.info.time_base
    assert len(ticks) == COUNT * len(starts)
    assert source.damage.repaired_pts == 0
    steps = [(b - a) * base for a, b in pairwise(ticks)]
    # A part that begins less than ten seconds later is a gap of the author's.
    restarts = {COUNT * number - 1 for number in range(1, len(starts))}
    for number, step in enumerate(steps):
        if number in restarts:
            assert 0 < step <= 10
        else:
            assert step == FRAME
    sound = times_of(str(path), "audio")
    # Sound begins with the pictures of its part; a packet is 24 ms, and overlaps of
    # less than 100 ms stay.
    first_picture = ticks[0] * base
    distance = abs(sound[0] - first_picture)
    assert distance < FRAME * 2
    # the first of the last part
    last_picture = ticks[-COUNT] * base
    per_part = len(sound) // len(starts)
    last_distance = abs(sound[-per_part] - last_picture)
    assert last_distance < Fraction(1, 10) + FRAME


@pytest.mark.parametrize(
    ("name", "frames", "seconds"),
    [
        ("clock_restarts.ts", 50, Fraction(49, 25)),
        ("clock_jumps_ahead_100s.ts", 16, Fraction(15, 25)),
        ("h264_bframes.avi", 25, Fraction(24, 25)),
        ("begins_at_3600s.mkv", 25, Fraction(24, 25)),
        ("theora_empty_packets.ogv", 25, Fraction(24, 25)),
    ],
)
def test_files_of_the_field(name: str, frames: int, seconds: Fraction) -> None:
    source = FileSource(probe(str(DATA / name)))
    ticks = [frame.pts for frame in source.frames()]
    assert len(ticks) == frames
    num_ticks = ticks[-1] - ticks[0]
    assert num_ticks * source.info.time_base == seconds
    jumps = source.damage.clock_jumps
    assert source.damage == Damage(clock_jumps=jumps)
    assert source.info.num_frames == frames


@pytest.mark.parametrize("name", ["aac_in_ts.ts", "lpcm_dvd.vob"])
def test_the_end_of_another_stream_is_none_of_ours(name: str) -> None:
    """A decoder that is ended twice calls the file damaged."""
    path = str(DATA / name)
    with open_input(path) as container:
        video = container.streams.video[0]
        packets = list(demux_unbroken(container, [video]))
        # an empty packet without a time ends the decoder of its stream
        ends = [p.stream for p in packets if not p.size and p.dts is None]
        assert ends == [video]
    source = FileSource(probe(path))
    assert len(list(source.frames())) == source.info.num_frames
    assert source.damage == Damage()


def test_expected_frames_are_counted_from_the_first() -> None:
    assert probe(str(DATA / "begins_at_3600s.mkv")).num_frames == 25
    assert probe(str(DATA / "subtitle_across_start.mkv")).num_frames == 8
    assert probe(str(DATA / "wma_sound.wmv")).num_frames == 25


def test_an_output_starts_at_its_beginning() -> None:
    """A film that begins at an hour was cut out; a delay of the author's stays."""
    # Sound may begin some hundredths of a second before the picture.
    assert probe(str(DATA / "begins_at_3600s.mkv")).start > 3599
    assert probe(str(DATA / "subtitle_across_start.mkv")).start == 0


def test_the_rate_of_raw_dv_is_that_of_television() -> None:
    info = probe(str(DATA / "ntsc.dv"))
    assert info.rate == Fraction(30_000, 1001)
    first, second = read_frames(info)
    step = (second.pts - first.pts) * info.time_base
    assert step == 1 / info.rate


@pytest.mark.parametrize(
    ("muxer", "codec"),
    [("h264", "libx264"), ("hevc", "libx265"), ("mpeg2video", "mpeg2video")],
)
@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(50)])
def test_bare_pictures_know_their_rate(
    tmp_path: Path, muxer: str, codec: str, rate: Fraction
) -> None:
    """FFmpeg calls the average rate of a file without a container 25."""
    path = str(tmp_path / "in")
    with av.open(path, "w", format=muxer) as output:
        video = output.add_stream(codec, rate=rate)
        video.width = 64
        video.height = 48
        video.pix_fmt = "yuv420p"
        for number in range(5):
            level = 40 * number
            picture = np.full((48, 64, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    info = probe(path)
    assert info.rate == rate
    ticks = [frame.pts for frame in FileSource(info).frames()]
    for tick, later in pairwise(ticks):
        step = (later - tick) * info.time_base
        assert step == 1 / rate
