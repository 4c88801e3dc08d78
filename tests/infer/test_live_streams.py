"""Real streams over real sockets, through the real command: latency, loss, return, and a clean end."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ROOT
from streaming import FPS, Receiver, Sender, decoded, free_port, running

Command = Callable[..., list[str]]


@contextmanager
def session(words: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A live session that cannot outlive its test."""
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: "subprocess.Popen[str]", how: int = signal.SIGTERM) -> str:
    """Ask the session to stop; what it said. A clean end has status 0."""
    process.send_signal(how)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return said


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_udp_to_udp_adds_less_than_a_tenth_of_a_second(tmp_path: Path, command: Command) -> None:
    """Glass to glass: from before the sender's encoder to after the receiver's decoder, the model's time taken off.

    So the sum holds both encoders and decoders, both sockets, the sender's MPEG-TS (a frame ends when the next
    begins: 40 ms at 25/s) and all of ours.
    """
    source, target = (f"udp://127.0.0.1:{free_port()}" for _ in range(2))
    report = tmp_path / "report.json"
    sender, receiver = Sender(f"{source}?pkt_size=1316"), Receiver(target)
    words = command("-i", source, "-o", target, "--report", report, "--preset", "ultrafast")
    with session(words) as process, running(sender, receiver):
        receiver.wait_for(100)
        said = finish(process)
    result = json.loads(report.read_text())
    assert "policy drop" in said
    steady = sorted(receiver.came)[20:]
    assert set(steady) <= set(sender.sent), "the output has the input's timestamps"
    glass = [1000 * (receiver.came[i] - sender.sent[i]) for i in steady]
    overhead = float(np.median(glass)) - result["model_ms"]["p50"]
    print(f"glass to glass {np.median(glass):.1f} ms (p95 {np.percentile(glass, 95):.1f}), model "
          f"{result['model_ms']}, own measurement {result['latency_ms']}")  # fmt: skip
    assert overhead < 100, (glass, result)
    assert result["latency_ms"]["p50"] - result["model_ms"]["p50"] < 50, "what the session says of itself"


def test_a_source_that_dies_and_comes_back(tmp_path: Path, command: Command) -> None:
    port, output, report = free_port(), tmp_path / "out.mp4", tmp_path / "report.json"
    words = command("-i", f"udp://127.0.0.1:{port}", "-o", output, "--timeout", 1, "--report", report)
    url = f"udp://127.0.0.1:{port}?pkt_size=1316"
    with session(words) as process:
        with running(Sender(url)):
            wait_until(lambda: output.exists() and output.stat().st_size > 20_000, process)
        time.sleep(2.5)
        before = output.stat().st_size
        with running(Sender(url, first=1000)):  # with another clock
            wait_until(lambda: output.stat().st_size > before + 20_000, process)
            said = finish(process)
    result = json.loads(report.read_text())
    assert result["reconnections"] >= 1
    assert "is lost (nothing came in time)" in said
    assert "is back" in said
    times = [time for time, _ in decoded(str(output))]
    assert times[0] == 0
    assert len(times) == result["frames"]
    gaps = np.diff([float(t) for t in times])
    assert (gaps > 0).all()
    assert 1.5 < gaps.max() < 8, "the time without a source is there, neither less nor the other clock's leap"


def test_a_source_that_stays_away_is_an_error_and_the_file_is_whole(tmp_path: Path, command: Command) -> None:
    port, output = free_port(), tmp_path / "out.mkv"
    words = command("-i", f"udp://127.0.0.1:{port}", "-o", output, "--timeout", 1, "--reconnect", 1)
    with session(words) as process:
        with running(Sender(f"udp://127.0.0.1:{port}?pkt_size=1316")):
            wait_until(lambda: output.exists() and output.stat().st_size > 20_000, process)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: udp://127.0.0.1")
    assert "not back within 1 s" in said.splitlines()[-1]
    assert len(decoded(str(output))) > 10


def test_no_source_at_all_is_said_in_time(
    tmp_path: Path, run: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    begun = time.monotonic()
    done = run("-i", f"udp://127.0.0.1:{free_port()}", "-o", tmp_path / "o.mp4", "--timeout", 1)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("cannot be opened (nothing came in time)")
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("name", "how"), [("out.mp4", signal.SIGTERM), ("out.mkv", signal.SIGTERM), ("live.m3u8", signal.SIGINT)]
)
def test_a_stopped_session_leaves_a_playable_file_with_sound(
    tmp_path: Path, command: Command, name: str, how: int
) -> None:
    port, output = free_port(), tmp_path / name
    words = command("-i", f"udp://127.0.0.1:{port}", "-o", output)
    with session(words) as process, running(Sender(f"udp://127.0.0.1:{port}?pkt_size=1316", sound=True)):
        wait_until(lambda: output.exists() and (name == "live.m3u8" or output.stat().st_size > 20_000), process)
        time.sleep(3)
        said = finish(process, how)
    has_sound = name != "out.mp4"
    assert ("sound is copied" if has_sound else "WITHOUT the source's sound") in said
    with av.open(str(output)) as container:
        frames = list(container.decode(video=0))
    assert (frames[0].width, frames[0].height) == (256, 192)
    assert len(frames) > 2 * FPS
    with av.open(str(output)) as container:
        assert bool(container.streams.audio) == has_sound
        assert not has_sound or sum(f.samples for f in container.decode(audio=0)) > 2 * 8000


def test_still_pictures_are_not_computed_again(tmp_path: Path, command: Command) -> None:
    port, output, report = free_port(), tmp_path / "out.mkv", tmp_path / "report.json"
    words = command("-i", f"udp://127.0.0.1:{port}", "-o", output, "--live", "skip-similar", "--frames", 60,
                    "--report", report)  # fmt: skip
    with session(words) as process, running(Sender(f"udp://127.0.0.1:{port}?pkt_size=1316", still=True)):
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    result = json.loads(report.read_text())
    assert result["frames"] == 60
    assert result["repeated"] > 50
    assert len(decoded(str(output))) == 60


def test_tcp_in_and_out(command: Command) -> None:
    source, target = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    words = command("-i", f"{source}?listen=1", "-o", f"{target}?listen=1", "--frames", 40)
    receiver = Receiver(target)
    with session(words) as process, running(receiver, Sender(source)):
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert len(receiver.came) == 40


def test_slow_machine_with_a_fast_source_drops_and_stays_live(tmp_path: Path, command: Command) -> None:
    port, report = free_port(), tmp_path / "report.json"
    words = command("-i", f"udp://127.0.0.1:{port}", "-o", tmp_path / "out.ts", "--frames", 60, "--report", report)
    fast = Sender(f"udp://127.0.0.1:{port}?pkt_size=1316", fps=240, size=(160, 120))
    with session(words) as process, running(fast):
        said = process.communicate(timeout=90)[1]
    assert process.returncode == 0, said
    result = json.loads(report.read_text())
    assert result["dropped"] > 60
    bound = 6 * result["model_ms"]["p99"] + 200  # what may wait: three frames, one in the works, one being written
    assert result["latency_ms"]["p50"] < bound, result
