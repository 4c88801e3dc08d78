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

SIZES = (16, 16), (24, 16)


def joined(
    path: Path, lengths: tuple[int, ...], muxer: str, sizes=SIZES, **options: object
) -> str:
    """Clips of alternating size in one file, their bytes put after each other."""
    data = b""
    first = 0
    for number, length in enumerate(lengths):
        part = str(path.with_name(f"part{number}"))
        make_video(
            part,
            range(first, first + length),
            sizes[number % 2],
            muxer=muxer,
            **options,
        )  # type: ignore[arg-type]
        data, first = data + Path(part).read_bytes(), first + length
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
    info = probe(joined(tmp_path / f"in.{suffix}", (3, 4, 2), muxer))
    result = [(r.start, r.count, r.info.width, r.info.height) for r in size_runs(info)]
    expected = [(0, 3, 16, 16), (3, 4, 24, 16), (7, 2, 16, 16)]
    assert result == expected
    assert {r.info.num_frames for r in size_runs(info)} == {9}
    assert [(r.start, r.count) for r in size_runs(info, 2, 3)] == [(2, 1), (3, 2)]
    assert size_runs(info, 9) == []
    for run in size_runs(info):
        shapes = [
            f.rgb.shape[1::-1] for f in read_frames(run.info, run.start, run.count)
        ]
        assert shapes == [(run.info.width, run.info.height)] * run.count


def test_both_policies(upscale, source, tmp_path):
    status, message = upscale("--video", source)
    assert status == 0, message
    assert "6 frames had another size and were scaled" in message
    output = tmp_path / "in_x4.mp4"
    assert len(times(output)) == 11
    output.unlink()
    status, message = upscale(
        "--video", source, "--on-resize", "split", "--report", tmp_path / "r.json"
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
    for name, size, count in (("in_x4.mp4", SIZES[0], 5), ("in_x4_2.mp4", SIZES[1], 6)):
        info = probe(str(tmp_path / name))
        assert info.width == 4 * size[0]
        assert info.height == 4 * size[1]
        result = times(tmp_path / name)
        assert len(result) == count
        assert [round((t - result[0]) * 25, 3) for t in result] == list(range(count))
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
    first.write_bytes(good[:-5] + bytes([good[-5] ^ 4]) + good[-4:])
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
        assert (tmp_path / f"out{end}").read_bytes() == (
            tmp_path / f"whole{end}"
        ).read_bytes()


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
    expected = [
        ["0.png", "1.png", "2.png"],
        ["3.png", "4.png"],
    ]
    assert [
        sorted(os.listdir(tmp_path / f"frames_x4{n}")) for n in ("", "_2")
    ] == expected
    assert probe(str(tmp_path / "frames_x4_2")).width == 96


def test_a_live_stream_stays_one_stream(upscale, source):
    status, message = upscale("--video", source, "-o", "-", "--on-resize", "split")
    assert status == 2
    assert "not for live" in message
