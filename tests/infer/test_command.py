"""The command as users give it, with a tiny real model, on clips made here."""

import json
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import make_video, pictures

from infer.console import rate_in_words
from infer.jobs.plan import make_plan
from infer.options import Options, parse, parse_fps, parse_size
from infer.sources.files import read_frames
from infer.sources.images import encode_png, list_images
from infer.sources.probe import probe

HEAVY = pytest.mark.heavy  # another size is another compilation


@pytest.fixture
def source(tmp_path):
    """A clip with variable frame rate and sound."""
    return make_video(
        str(tmp_path / "in.mp4"),
        # Frames of one to six sixtieths of a second.
        [0, 40, 60, 120, 130],
        (16, 16),
        Fraction(1, 600),
        audio="aac",
    )


def frames_of(path: str | Path) -> list[np.ndarray]:
    info = probe(str(path))
    return [f.rgb for f in read_frames(info)]


def test_one_option_is_enough(upscale, source, tmp_path):
    status, stderr = upscale("--video", source, "--report", tmp_path / "r.json")
    assert status == 0
    expected = [
        "input",
        "output",
        "model",
        "memory",
        "done",
    ]
    assert [line.split()[0] for line in stderr.splitlines()] == expected
    assert "16x16, 5 frames" in stderr
    assert "64x64" in stderr
    result = probe(str(tmp_path / "in_x4.mp4"))
    assert result.width == 64
    assert result.height == 64
    assert [f.pts * result.time_base * 600 for f in read_frames(result)] == [
        0,
        40,
        60,
        120,
        130,
    ]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["nothing_lost"]
    assert {"audio 1", "timestamps"} <= {c["name"] for c in report["checks"]}
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "in_x4.mp4", "r.json"]


def test_an_existing_output_is_never_replaced_silently(upscale, source, tmp_path):
    output = tmp_path / "in_x4.mp4"
    output.write_text("precious")
    status, stderr = upscale("--video", source)
    assert status == 2
    assert "already exists; give --overwrite" in stderr
    assert output.read_text() == "precious"
    status, stderr = upscale("--video", source, "--overwrite")
    assert status == 0, stderr
    assert len(frames_of(output)) == 5


def test_the_published_script_s_names_work():
    words = "--in_path a.mp4 --out_path b.mp4 --model_id nano --num_inference_steps 3"
    same = "-i a.mp4 -o b.mp4 --model nano --steps 3"
    assert (
        parse(words.split())
        == parse(same.split())
        == Options(("a.mp4",), "b.mp4", "nano", steps=3)
    )
    assert parse(["--video", "a", "--flow-weights", "w"]) == parse(
        ["--video", "a", "--flow_weights", "w"]
    )


@pytest.mark.parametrize(
    "size",
    [(1, 1), pytest.param((2, 3), marks=HEAVY), pytest.param((17, 5), marks=HEAVY)],
)
def test_any_size_gives_exactly_four_times_that(upscale, tmp_path, size):
    source = make_video(
        str(tmp_path / "in.mkv"), range(2), size, codec="ffv1", pixel_format="yuv444p"
    )
    status, stderr = upscale("--video", source, "--codec", "ffv1")
    assert status == 0, stderr
    expected = (4 * size[1], 4 * size[0], 3)
    assert frames_of(tmp_path / "in_x4.mkv")[0].shape == expected


def test_other_sizes_keep_the_shape_on_screen(upscale, tmp_path):
    source = make_video(
        str(tmp_path / "in.mp4"), range(2), (16, 16), sar=Fraction(3, 2)
    )
    status, stderr = upscale("--video", source, "--size", "45x33")
    assert status == 0, stderr
    assert "is odd: written as 4:4:4" in stderr
    result = probe(str(tmp_path / "in_45x33.mp4"))
    assert result.width == 45
    assert result.height == 33
    assert result.sar is not None
    assert result.sar * 45 / 33 == Fraction(3, 2)
    assert make_plan(parse(["--video", source, "--scale", "2"]), source).size == (
        32,
        32,
    )


def test_a_part_of_a_video_is_that_part_of_the_whole_clock(upscale, source, tmp_path):
    part = tmp_path / "part.mp4"
    status, _ = upscale("--video", source, "--start", "1", "--frames", "3", "-o", part)
    assert status == 0
    result = probe(str(part))
    assert [f.pts * result.time_base * 600 for f in read_frames(result)] == [0, 20, 80]
    assert result.others[0].codec == "aac"


def test_frames_in_frames_out_and_the_same_as_the_video_path(upscale, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, rgb in enumerate(pictures(3, 16, 16)):
        (folder / f"f{number + 8}.png").write_bytes(encode_png(rgb))
    names = [Path(p).name for p in list_images(str(folder))]
    assert names == [
        "f8.png",
        "f9.png",
        "f10.png",
    ]
    status, stderr = upscale("--video", folder)
    assert status == 0, stderr
    output = tmp_path / "frames_x4"
    assert sorted(os.listdir(output)) == ["f10.png", "f8.png", "f9.png"]
    status, stderr = upscale(
        "--video",
        folder,
        "-o",
        tmp_path / "v.mkv",
        "--codec",
        "ffv1",
        "--fps",
        "30000/1001",
    )
    assert status == 0, stderr
    video = probe(str(tmp_path / "v.mkv"))
    # Matroska holds the length of a frame in nanoseconds, not the rate.
    assert abs(float(video.rate) - 30000 / 1001) < 0.01
    for image, frame in zip(
        frames_of(output), frames_of(tmp_path / "v.mkv"), strict=True
    ):
        # Weights of BT.601, which untagged video of that size has.
        luma = (image.astype(float) - frame) @ [0.299, 0.587, 0.114]
        assert (
            np.abs(luma).mean() < 2.5
        )  # colours lose detail to 4:2:0, brightness does not
    status, stderr = upscale("--video", folder)
    assert status == 2
    assert "already exists" in stderr


def test_segments_change_the_file_but_not_the_frames(upscale, source, tmp_path):
    outputs = []
    # Five groups, three with a short last one, and a single one.
    for length in (1, 2, 120):
        output = tmp_path / f"{length}.mkv"
        status, stderr = upscale(
            "--video", source, "-o", output, "--codec", "ffv1", "--segment", length
        )
        assert status == 0, stderr
        outputs.append(frames_of(output))
    for other in outputs[1:]:
        for a, b in zip(outputs[0], other, strict=True):
            assert np.array_equal(a, b)


def test_ten_bits_stay_ten_bits(upscale, tmp_path):
    source = make_video(
        str(tmp_path / "in.mkv"),
        range(2),
        (16, 16),
        codec="ffv1",
        pixel_format="yuv420p10le",
    )
    status, stderr = upscale("--video", source)
    assert status == 0, stderr
    result = probe(str(tmp_path / "in_x4.mkv"))
    assert result.codec == "hevc"
    assert result.layout.name == "yuv420p10le"


def test_a_file_that_breaks_in_the_middle_gives_what_there_is(upscale, tmp_path):
    complete = make_video(
        str(tmp_path / "whole.mkv"), range(30), (16, 16), codec="mpeg4"
    )
    data = Path(complete).read_bytes()
    # Behind the middle: some frames are whole, and the index at the end is gone.
    Path(complete).write_bytes(data[: len(data) * 6 // 10])
    cut = tmp_path / "cut.mkv"
    Path(complete).rename(cut)
    status, stderr = upscale("--video", cut, "--frames", "30", "--codec", "ffv1")
    assert status == 0, stderr
    # How many are whole, the encoder's packets decide.
    assert 1 < len(frames_of(tmp_path / "cut_x4.mkv")) < 30


def test_a_damaged_packet_is_skipped_and_counted(upscale, tmp_path):
    path = make_video(
        str(tmp_path / "in.mov"), range(5), (16, 16), codec="png", pixel_format="rgb24"
    )
    with av.open(path) as container:
        packet = [p for p in container.demux() if p.size][2]
        place = packet.pos
        size = packet.size
    data = Path(path).read_bytes()
    assert place is not None
    Path(path).write_bytes(data[:place] + bytes(size) + data[place + size :])
    output = tmp_path / "o.mkv"
    status, stderr = upscale(
        "--video",
        path,
        "-o",
        output,
        "--codec",
        "ffv1",
        "--report",
        tmp_path / "r.json",
    )
    assert status == 0, stderr
    assert "4 of 5 frames could be decoded, 1 packets could not" in stderr
    info = probe(str(output))
    pts = [f.pts for f in read_frames(info)]
    assert pts == [
        0,
        40,
        120,
        160,
    ]
    assert json.loads((tmp_path / "r.json").read_text())["damage"]["bad_packets"] == 1


def test_several_inputs_go_on_after_a_failure_and_skip_what_is_done(upscale, tmp_path):
    good = [make_video(str(tmp_path / f"{n}.mp4"), range(2), (16, 16)) for n in "ab"]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    arguments = ["--video", good[0], broken, good[1]]
    status, stderr = upscale(*arguments)
    assert status == 1
    assert stderr.splitlines()[-1] == "3 inputs: 2 done, 0 skipped, 1 failed"
    status, stderr = upscale(*arguments)
    assert stderr.splitlines()[-1] == "3 inputs: 0 done, 2 skipped, 1 failed"
    broken.unlink()
    inputs = tmp_path / "inputs"
    results = tmp_path / "results"
    inputs.mkdir(), results.mkdir()
    Path(good[0]).rename(inputs / "c.mp4")
    status, stderr = upscale("--video", inputs, "-o", results)
    assert status == 0, stderr
    assert os.listdir(results) == ["c_x4.mp4"]


BAD = [
    ("none.mp4", (), 2, "no such file"),
    ("text.mp4", (), 1, "not a video"),
    ("empty.mp4", (), 1, "empty"),
    ("sound.m4a", (), 1, "no video stream"),
    ("folder", (), 1, "no images"),
    ("in.mp4", ("--model", "nothing"), 2, "model 'nothing'"),
    ("in.mp4", ("-o", "no/such/folder/o.mp4"), 2, "no such folder"),
    ("in.mp4", ("-o", "o.avi"), 2, "cannot write .avi"),
    ("in.mp4", ("--codec", "mystery"), 2, "unknown, expected one of"),
    ("in.mp4", ("--codec", "prores", "-o", "o.mp4"), 2, "use .mov or .mkv"),
    ("in.mp4", ("--codec", "ffv1", "--crf", "3"), 2, "no such setting"),
    ("in.mp4", ("--size", "99999x99999"), 2, "cannot encode"),
    ("in.mp4", ("--size", "4by4"), 2, "WIDTHxHEIGHT"),
    ("in.mp4", ("--start", "5"), 2, "has 2 frames"),
    ("in.mp4", ("--frames", "0"), 2, "at least 1"),
    ("in.mp4", ("--device", "abacus"), 2, "not here"),
    ("in.mp4", ("--stream", "7"), 2, "is no video"),
    ("in.mp4", ("-o", "in.mp4", "--overwrite"), 2, "input itself"),
]


@pytest.mark.parametrize(
    ("name", "options", "expected", "words"),
    BAD,
    ids=lambda v: "_".join(v) if isinstance(v, tuple) else str(v)[:20],
)
def test_bad_input_is_one_clear_line(
    upscale, tmp_path, monkeypatch, name, options, expected, words
):
    monkeypatch.chdir(tmp_path)
    make_video("in.mp4", range(2), (16, 16))
    Path("text.mp4").write_text("hello")
    Path("empty.mp4").touch()
    Path("folder").mkdir()
    with av.open("sound.m4a", "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    before = sorted(os.listdir())
    model = {"model": options[1]} if options[:1] == ("--model",) else {}
    status, stderr = upscale("--video", name, *(() if model else options), **model)
    errors = [line for line in stderr.splitlines() if line.startswith("error")]
    assert status == expected, stderr
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in stderr
    assert sorted(os.listdir()) == before


def test_a_folder_that_cannot_be_written_is_told(
    upscale, source, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # root may write everywhere
    status, stderr = upscale("--video", source)
    assert status == 1
    assert "cannot write there" in stderr


# None, backwards, no number, no rate, and more than any clock counts.
@pytest.mark.parametrize("text", ["0", "-1", "x", "1/0", "1e9"])
def test_bad_rates(text):
    with pytest.raises(ValueError, match="--fps"):
        parse_fps(text)


def test_sizes_and_rates():
    assert parse_size("1920X1080") == (1920, 1080)
    assert parse_fps("30000/1001") == Fraction(30000, 1001)


def test_slow_work_is_told_in_seconds_per_frame():
    assert rate_in_words(50, 20.0) == "2.50 frames/s"
    assert rate_in_words(2, 1400.0) == "700 s per frame"
    assert rate_in_words(0, 0.0) == "0.00 frames/s"
