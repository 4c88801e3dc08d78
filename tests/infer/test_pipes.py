"""y4m and raw RGB through real pipes of real processes: the file job's pixels, and
nothing else, on stdout.
"""

import io
import json
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from clips import ROOT, make_video, pictures

from infer.__main__ import main

# Sides that are no multiples of 8 or 16: a raw stream has no padding.
SIZE, COUNT = (36, 20), 8


@pytest.fixture(scope="module")
def y4m(tmp_path_factory) -> bytes:
    """COUNT frames as a y4m stream."""
    path = tmp_path_factory.mktemp("pipes") / "in.y4m"
    with av.open(str(path), "w", format="yuv4mpegpipe") as output:
        video = output.add_stream("rawvideo", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        for rgb in pictures(COUNT, *SIZE):
            frame = av.VideoFrame.from_ndarray(rgb)
            output.mux(video.encode(frame))
    return path.read_bytes()


@pytest.fixture
def pipe(command):
    """Run the command with bytes on stdin; returns the finished process with bytes from
    stdout.
    """

    def call(data: bytes, *arguments: object) -> "subprocess.CompletedProcess[bytes]":
        words = command("--video", "-", "--output", "-", *arguments)
        return subprocess.run(
            words, cwd=ROOT, input=data, capture_output=True, timeout=300
        )

    return call


COPY = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


def planes(source: str | io.BytesIO, **options: str) -> list[np.ndarray]:
    with av.open(source, **options) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def test_three_programs_in_a_row_give_the_file_job(y4m, command, tiny_model, tmp_path):
    source = tmp_path / "in.y4m"
    target = tmp_path / "out.y4m"
    job = tmp_path / "out.mkv"
    source.write_bytes(y4m)
    pipe = subprocess.PIPE
    copy = [sys.executable, "-c", COPY]
    with (
        source.open("rb") as data,
        target.open("wb") as sink,
        subprocess.Popen(copy, stdin=data, stdout=pipe) as first,
        subprocess.Popen(
            command("--video", "-", "--output", "-"),
            cwd=ROOT,
            stdin=first.stdout,
            stdout=pipe,
            stderr=pipe,
            text=True,
        ) as middle,
        subprocess.Popen(copy, stdin=middle.stdout, stdout=sink) as last,
    ):
        assert first.stdout is not None
        assert middle.stdout is not None
        assert middle.stderr is not None
        first.stdout.close()
        middle.stdout.close()
        message = middle.stderr.read()
        assert [process.wait(120) for process in (first, middle, last)] == [0, 0, 0], (
            message
        )
    assert target.read_bytes().startswith(b"YUV4MPEG2 W144 H80 F25:1")
    assert f"{COUNT} frames in, {COUNT} out, 0 dropped" in message
    assert "latency p50" in message
    status = main(
        [
            "--video",
            str(source),
            "-o",
            str(job),
            "--codec",
            "ffv1",
            "--model",
            tiny_model,
        ]
    )
    assert status == 0
    np.testing.assert_array_equal(planes(str(target)), planes(str(job)))


def test_frames_that_do_not_fit_are_tiled_as_in_a_file_job(
    command, tiny_model, tmp_path
):
    source = make_video(str(tmp_path / "in.mkv"), range(2), (160, 24))
    job = tmp_path / "out.mkv"
    report = tmp_path / "report.json"
    tile = ("--tile", "128")
    words = command("--video", source, "-o", "-", *tile, "--report", report)
    finished_process = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=300)
    assert finished_process.returncode == 0, finished_process.stderr
    assert json.loads(report.read_text())["fit"] == "128x24"
    status = main(
        [
            "--video",
            source,
            "-o",
            str(job),
            *tile,
            "--codec",
            "ffv1",
            "--model",
            tiny_model,
        ]
    )
    assert status == 0
    np.testing.assert_array_equal(
        planes(io.BytesIO(finished_process.stdout), format="yuv4mpegpipe"),
        planes(str(job)),
    )


RAW = ("--input-size", "36x20", "--fps", "30000/1001", "--raw-output")


def test_raw_rgb_in_and_out_has_its_size_declared(pipe):
    clip = np.stack(list(pictures(3, *SIZE)))
    finished_process = pipe(clip.tobytes(), *RAW)
    assert finished_process.returncode == 0, finished_process.stderr
    upscaled = (
        np.frombuffer(finished_process.stdout, np.uint8)
        .reshape(3, 80, 144, 3)
        .astype(float)
    )
    means = upscaled.reshape(3, 20, 4, 36, 4, 3).mean((2, 4))
    assert np.abs(means - clip).mean() < 20  # even random weights keep the LR picture


@pytest.mark.heavy
def test_raw_rgb_of_16_bits(pipe):
    clip = np.stack(list(pictures(3, *SIZE)))
    finished_process = pipe(clip.tobytes(), *RAW)
    deep = pipe((clip.astype("<u2") * 257).tobytes(), *RAW, "--raw-format", "rgb48le")
    assert deep.returncode == 0, deep.stderr
    wide = np.frombuffer(deep.stdout, "<u2")
    # More levels than 8 bits have.
    assert len(np.unique(wide)) > 256
    np.testing.assert_allclose(
        wide / 257, np.frombuffer(finished_process.stdout, np.uint8), atol=0.51
    )


@pytest.mark.heavy
def test_ten_bits_stay_ten(pipe, tmp_path):
    source = tmp_path / "in.y4m"
    with av.open(
        str(source), "w", format="yuv4mpegpipe", options={"strict": "-1"}
    ) as output:
        video = output.add_stream("rawvideo", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv422p10le"
        for rgb in pictures(3, *SIZE):
            frame = av.VideoFrame.from_ndarray(rgb)
            output.mux(video.encode(frame))
    finished_process = pipe(source.read_bytes())
    assert finished_process.returncode == 0, finished_process.stderr
    assert b"C422p10" in finished_process.stdout[:100]
    assert len(planes(io.BytesIO(finished_process.stdout), format="yuv4mpegpipe")) == 3


def test_a_closed_pipe_ends_cleanly(command, tmp_path):
    # Far more than a pipe's 64 KiB: the program must still be writing when it is
    # closed.
    source = make_video(str(tmp_path / "in.mkv"), range(2000), (64, 48))
    pipe = subprocess.PIPE
    words = command("--video", source, "--output", "-")
    with subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # Less than a frame.
        assert len(process.stdout.read(10_000)) == 10_000
        process.stdout.close()
        message = process.stderr.read().decode()
        assert process.wait(120) == 0, message
    assert "the reader has closed the pipe" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.heavy)]
)
def test_a_pipe_that_says_nothing_can_be_stopped(command, how):
    pipe = subprocess.PIPE
    words = command("--video", "-", "--output", "-")
    with subprocess.Popen(
        words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"live     waiting for -\n"
        process.send_signal(how)
        assert process.wait(60) == 130
        assert process.stderr.read() == b"interrupted before the first frame\n"
        assert process.stdout.read() == b""


# Almost at once, and as a person does it.
@pytest.mark.parametrize("pause", [0.03, 0.5])
def test_a_second_signal_ends_a_session_whose_reader_has_stalled(
    command, tmp_path, pause
):
    """Both together or one after the other: status 130, and no traceback."""
    # More than its queues and the pipe hold together.
    source = make_video(str(tmp_path / "in.mkv"), range(500), (64, 48))
    words = command("--video", source, "--output", "-")
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # The first bytes are there, and nobody takes the rest: a pipe holds 64 KiB,
        # less than two frames.
        assert len(process.stdout.read(1000)) == 1000
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("data", "arguments", "words"),
    [
        (b"", (), "expected a y4m stream"),
        (b"no video at all\n" * 100, (), "expected a y4m stream"),
        (b"\0" * 100, ("--input-size", "36x20"), "cannot be opened"),
    ],
    ids=("empty", "text", "short"),
)
def test_wrong_input_is_one_line(pipe, data, arguments, words):
    finished_process = pipe(data, *arguments)
    assert finished_process.returncode == 1
    assert finished_process.stdout == b""
    _, error = finished_process.stderr.decode().splitlines()
    assert error.startswith("error: -: ")
    assert words in error


@pytest.mark.heavy
def test_a_stream_that_is_cut_off_gives_its_whole_frames(y4m, pipe):
    finished_process = pipe(y4m[: len(y4m) * 5 // 8 + 50])
    assert finished_process.returncode == 0, finished_process.stderr
    assert len(planes(io.BytesIO(finished_process.stdout), format="yuv4mpegpipe")) in (
        4,
        5,
    )
