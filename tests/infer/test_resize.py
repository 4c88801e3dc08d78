"""A frame size that changes in mid-stream: scaled to the first one, or a new file for
every size.
"""

import os
from fractions import Fraction
from pathlib import Path

import pytest
from clips import make_video, pictures, stopped_before

from infer.jobs.work_folder import folder_of
from infer.sources.files import read_frames
from infer.sources.images import encode_png
from infer.sources.probe import probe
from infer.sources.size_changes import size_runs

# Small, and of two shapes: each is a compilation.
SIZES = (16, 16), (24, 16)


def joined(
    path: Path, lengths: tuple[int, ...], muxer: str, sizes=SIZES, **options: object
) -> str:
    """Clips of alternating size in one file, their bytes put after each other."""
    data = b""
    first = 0
    for number, length in enumerate(lengths):
        part = str(path.with_name(f"part{number}"))
        pts = range(first, first + length)
        size = sizes[number % 2]
        make_video(part, pts, size, muxer=muxer, **options)  # type: ignore[arg-type]
        data += Path(part).read_bytes()
        first += length
        os.remove(part)
    path.write_bytes(data)
    return str(path)


def times(path: Path) -> list[Fraction]:
    info = probe(str(path))
    return [f.pts * info.time_base for f in read_frames(info)]


@pytest.fixture
def source(tmp_path):
    return joined(tmp_path / "in.ts", (5, 6), "mpegts", audio="aac")


@pytest.mark.parametrize(("muxer", "suffix"), [("mpegts", "ts"), ("h264", "264")])
def test_runs_are_found_by_decoding(tmp_path, muxer, suffix):
    path = joined(tmp_path / f"in.{suffix}", (3, 4, 2), muxer)
    info = probe(path)
    runs = size_runs(info)
    spans = [(run.start, run.count) for run in runs]
    assert spans == [(0, 3), (3, 4), (7, 2)]
    sizes = [(run.info.width, run.info.height) for run in runs]
    assert sizes == [(16, 16), (24, 16), (16, 16)]
    part = [(run.start, run.count) for run in size_runs(info, 2, 3)]
    assert part == [(2, 1), (3, 2)]
    assert size_runs(info, 9) == []
    for run in runs:
        assert run.info.num_frames == 9
        frames = list(read_frames(run.info, run.start, run.count))
        assert len(frames) == run.count
        for frame in frames:
            assert frame.rgb.shape == (run.info.height, run.info.width, 3)


def test_both_policies(upscale, source, tmp_path):
    status, message = upscale("--video", source)
    assert status == 0, message
    assert "6 frames had another size and were scaled" in message
    output = tmp_path / "in_x4.mp4"
    assert len(times(output)) == 11
    output.unlink()
    report = tmp_path / "r.json"
    status, message = upscale(
        "--video", source, "--on-resize", "split", "--report", report
    )
    assert status == 0, message
    assert message.count("part ") == 2
    names = sorted(os.listdir(tmp_path))
    assert names == [
        "in.ts",
        "in_x4.mp4",
        "in_x4_2.mp4",
        "r.json",
    ]
    parts = {"in_x4.mp4": (SIZES[0], 5), "in_x4_2.mp4": (SIZES[1], 6)}
    for name, ((width, height), count) in parts.items():
        info = probe(str(tmp_path / name))
        assert info.width == 4 * width
        assert info.height == 4 * height
        result = times(tmp_path / name)
        # in frames; MP4 counts the ticks of the stream, and the rest is rounding
        places = [round((time - result[0]) * 25, 3) for time in result]
        assert places == list(range(count))
        assert [s.kind for s in info.others] == ["audio"]


def test_a_size_that_stays_is_an_ordinary_job(upscale, tmp_path):
    source = make_video(str(tmp_path / "in.mp4"), range(2), (16, 16))
    status, message = upscale("--video", source)
    assert status == 0, message
    split = tmp_path / "split.mp4"
    status, message = upscale("--video", source, "--on-resize", "split", "-o", split)
    assert status == 0, message
    assert split.read_bytes() == (tmp_path / "in_x4.mp4").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "in_x4.mp4", "split.mp4"]


def test_split_goes_on_where_it_stopped(upscale, source, tmp_path):
    """All parts get their names together; a finished part that was changed meanwhile is
    refused.
    """
    words = "--video", source, "--on-resize", "split", "--segment", 2, "-o"
    status, message = upscale(*words, tmp_path / "whole.mkv")
    assert status == 0, message
    output = tmp_path / "out.mkv"
    # In the middle of the second part: two of its three groups are finished.
    with stopped_before("out_2.mkv.parts/000002.json"):
        status, message = upscale(*words, output)
        assert status == 130, message
    before = ["in.ts", "whole.mkv", "whole_2.mkv"]
    assert sorted(os.listdir(tmp_path)) == [".out.mkv.parts", *before]
    status, message = upscale(*words, output, "--crf", 30)
    assert status == 2
    assert "unfinished work of another job" in message
    first = folder_of(str(output)) / "parts" / "out.mkv"
    good = first.read_bytes()
    # a bit near the end, where no header is
    damaged = bytearray(good)
    damaged[-5] ^= 4
    first.write_bytes(damaged)
    status, message = upscale(*words, output)
    assert status == 1
    assert "out.mkv: missing or damaged" in message
    first.write_bytes(good)
    status, message = upscale(*words, output, "--resume")
    assert status == 0, message
    assert "finished before" in message
    assert "going on after 4 finished frames" in message
    names = sorted(os.listdir(tmp_path))
    assert names == sorted([*before, "out.mkv", "out_2.mkv"])
    for end in (".mkv", "_2.mkv"):
        part = tmp_path / f"out{end}"
        expected = tmp_path / f"whole{end}"
        assert part.read_bytes() == expected.read_bytes()


def test_split_never_replaces_a_file_silently(upscale, source, tmp_path):
    second = tmp_path / "in_x4_2.mp4"
    second.write_text("precious")
    status, message = upscale("--video", source, "--on-resize", "split")
    assert status == 2
    assert "in_x4_2.mp4: already exists; give --overwrite" in message
    assert sorted(os.listdir(tmp_path)) == ["in.ts", "in_x4_2.mp4"]
    status, message = upscale("--video", source, "--on-resize", "split", "--overwrite")
    assert status == 0, message
    assert len(times(second)) == 6


def test_images_of_two_sizes_become_two_folders(upscale, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(5):
        picture = next(pictures(1, *SIZES[number > 2]))
        (folder / f"{number}.png").write_bytes(encode_png(picture))
    status, message = upscale("--video", folder, "--on-resize", "split")
    assert status == 0, message
    assert sorted(os.listdir(tmp_path)) == ["frames", "frames_x4", "frames_x4_2"]
    first = tmp_path / "frames_x4"
    second = tmp_path / "frames_x4_2"
    assert sorted(os.listdir(first)) == ["0.png", "1.png", "2.png"]
    assert sorted(os.listdir(second)) == ["3.png", "4.png"]
    assert probe(str(second)).width == 96


def test_a_live_stream_stays_one_stream(upscale, source):
    status, message = upscale("--video", source, "-o", "-", "--on-resize", "split")
    assert status == 2
    assert "not for live" in message
