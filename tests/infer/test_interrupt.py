"""Real processes, really stopped: nothing half-written, and the same bytes when the job is given again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clips import make_video
from conftest import ROOT


@pytest.fixture(scope="module")
def whole(tmp_path_factory, run) -> tuple[str, bytes]:
    """A source and the output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    source = make_video(str(folder / "in.mp4"), range(60), (64, 64), audio="aac")
    done = run("--video", source, "--segment", 8)
    assert done.returncode == 0, done.stderr
    return source, (folder / "in_x4.mp4").read_bytes()


def stop_after(words: list[str], record: Path, how: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not record.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    return process


def test_kill_and_again_gives_the_same_bytes(whole, tmp_path, command, run):
    source, expected = whole
    output = tmp_path / "out.mp4"
    words = ("--video", source, "-o", output, "--segment", 8)
    parts = tmp_path / ".out.mp4.parts"
    process = stop_after(command(*words), parts / "000001.json", signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    assert (parts / "000001.json").exists()
    refused = run(*words, "--crf", "30")
    assert refused.returncode == 2
    assert "crf was 'None', is '30'" in refused.stderr
    again = run(*words)
    assert again.returncode == 0, again.stderr
    assert "going on after" in again.stderr
    assert output.read_bytes() == expected
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_clean(whole, tmp_path, command, how):
    source, _ = whole
    output = tmp_path / "out.mp4"
    process = stop_after(command("--video", source, "-o", output), tmp_path / ".out.mp4.parts" / "job.json", how)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []  # no group was finished, so nothing is kept
