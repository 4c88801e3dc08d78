"""Real processes, really stopped: nothing half-written, and the same bytes when the job
is given again.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clips import ROOT, make_video

from infer.__main__ import main


@pytest.fixture(scope="module")
def complete(tmp_path_factory, tiny_model) -> tuple[str, bytes]:
    """A source and the output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    # Twenty groups, so that a kill after the second one is not at the end.
    source = make_video(str(folder / "in.mp4"), range(80), (16, 16), audio="aac")
    status = main(["--video", source, "--segment", "4", "--model", tiny_model])
    assert status == 0
    return source, (folder / "in_x4.mp4").read_bytes()


def stop_after(words: list[str], record: Path, how: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    # A process that compiles first, on a machine on which all tests run at once.
    deadline = time.monotonic() + 200
    while (
        not record.exists() and process.poll() is None and time.monotonic() < deadline
    ):
        # Short beside the time that a group takes.
        time.sleep(0.005)
    process.send_signal(how)
    return process


def test_kill_and_again_gives_the_same_bytes(complete, tmp_path, command, run):
    source, expected = complete
    output = tmp_path / "out.mp4"
    words = ("--video", source, "-o", output, "--segment", 4)
    parts = tmp_path / ".out.mp4.parts"
    process = stop_after(command(*words), parts / "000001.json", signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    assert (parts / "000001.json").exists()
    again = run(*words)
    assert again.returncode == 0, again.stderr
    assert "going on after" in again.stderr
    assert output.read_bytes() == expected
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.heavy)]
)
def test_an_interruption_is_clean(complete, tmp_path, command, how):
    source, _ = complete
    output = tmp_path / "out.mp4"
    process = stop_after(
        # More than its frames: no group is finished before the signal.
        command("--video", source, "-o", output, "--segment", 1000),
        tmp_path / ".out.mp4.parts" / "job.json",
        how,
    )
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130, message
    assert message.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in message
    assert os.listdir(tmp_path) == []  # no group was finished, so nothing is kept


@pytest.mark.heavy(25)
def test_memory_does_not_grow_with_length(tmp_path, command):
    source = make_video(str(tmp_path / "in.mp4"), range(1200), (48, 32))
    process = subprocess.Popen(
        command("--video", source, "--segment", 50), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    parts = tmp_path / ".in_x4.mp4.parts"
    resident = {}
    while process.poll() is None:
        num_finished = len(list(parts.glob("[0-9]*.json"))) * 50
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        resident.setdefault(
            num_finished,
            [int(line.split()[1]) for line in lines if line.startswith("VmRSS")],
        )
        time.sleep(0.02)
    assert process.wait() == 0
    curve = [
        kib[0]
        for num_finished, kib in sorted(resident.items())
        if num_finished >= 200 and kib
    ]
    # Of about twenty: looks may miss some groups.
    assert len(curve) > 10
    assert max(curve) - min(curve) < 40_000, (
        curve
    )  # KiB, over a length that would need 85,000 if frames were kept
