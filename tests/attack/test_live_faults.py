"""A live session through a bad network: loss, reordering, pauses, another size, a clock
that wraps, a reader that stalls. Its clock holds, its memory holds, and it ends well.
"""

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.attack.outcome import num_pictures, picture_times
from tests.attack.tally import count

ROOT = Path(__file__).parents[2]
MINUTES = float(os.environ.get("SDVSR_FAULT_MINUTES", "60"))
FPS = 10
PACKET = 1316
"""Bytes of seven packets of a transport stream, as cameras send them."""
WRAP = 2**33
"""Ticks of 1/90000 s after which the clock of a transport stream begins again."""
GROWTH = 64 * 1024
"""KiB that resident memory may grow after the first third; one second of upscaled
frames kept would be 1.4 MiB, so a leak of a tenth of the frames shows in a minute."""


class Network:
    """A UDP relay that loses, delays, repeats and holds back datagrams.

    loss, reorder, repeat: probabilities. pause: seconds of silence now and then.
    """

    def __init__(self, target: int, seed: int, **faults: float) -> None:
        self._target = target
        self._rng = random.Random(seed)
        self._faults = faults
        self._inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inner.bind(("127.0.0.1", 0))
        # Five looks a second at whether the test is over.
        self._inner.settimeout(0.2)
        self.port = self._inner.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self.num_faults = 0

    def __enter__(self) -> "Network":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._inner.close()

    def _chance(self, name: str) -> bool:
        happens = self._rng.random() < self._faults.get(name, 0)
        self.num_faults += happens
        return happens

    def _relay(self) -> None:
        late: list[bytes] = []
        quiet_until = 0.0
        while not self._over.is_set():
            try:
                # The longest datagram that there is.
                data = self._inner.recv(65536)
            except TimeoutError:
                continue
            if time.monotonic() < quiet_until or self._chance("loss"):
                continue
            if self._chance("pause"):
                # Less than the session's time-out of five seconds: the source is not
                # lost.
                quiet_until = time.monotonic() + 2
            # It leaves behind the next one.
            if self._chance("reorder"):
                late.append(data)
                continue
            self._send(data)
            if self._chance("repeat"):
                self._send(data)
            for datagram in late:
                self._send(datagram)
            late.clear()

    def _send(self, data: bytes) -> None:
        self._inner.sendto(data, ("127.0.0.1", self._target))


def picture(number: int, size: tuple[int, int]) -> av.VideoFrame:
    """A ramp that moves."""
    width, height = size
    columns = np.arange(width) + number
    ramp = 64 + 2 * (columns % 64)
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = ramp[None, :, None]
    return av.VideoFrame.from_ndarray(rgb)


class Camera:
    """Sends H.264 in real time; ``begin`` is the first time on its clock, seconds."""

    def __init__(
        self, port: int, begin: float = 0, sizes: tuple = ((64, 48),), spell: float = 10
    ) -> None:
        self._url = f"udp://127.0.0.1:{port}?pkt_size={PACKET}"
        self._begin = begin
        self._sizes = sizes
        self._spell = spell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.num_frames = 0

    def __enter__(self) -> "Camera":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        start_time = time.monotonic()
        while not self._over.is_set():
            for size in self._sizes:
                self._send(size, start_time)

    def _send(self, size: tuple[int, int], start_time: float) -> None:
        options = {"flush_packets": "1", "omit_video_pes_length": "0"}
        late = {"output_ts_offset": str(self._begin)} if self._begin else {}
        with av.open(self._url, "w", format="mpegts", options=options | late) as output:
            video = output.add_stream("libx264", rate=FPS)
            video.options = {"preset": "ultrafast", "tune": "zerolatency"}
            video.width, video.height = size
            video.pix_fmt = "yuv420p"
            video.gop_size = FPS
            last = self.num_frames + round(self._spell * FPS)
            while self.num_frames < last:
                due = start_time + self.num_frames / FPS
                if self._over.wait(max(0.0, due - time.monotonic())):
                    return
                frame = picture(self.num_frames, size)
                frame.pts = self.num_frames
                frame.time_base = Fraction(1, FPS)
                output.mux(video.encode(frame))
                self.num_frames += 1


def resident(pid: int) -> int:
    """Resident memory of a process, KiB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    _, kib, _ = line.split()
    return int(kib)


def free_port() -> int:
    """A UDP port of this machine that nobody uses at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


@contextmanager
def session(words: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """A live session as a process, killed at the end if nothing else ended it."""
    with log.open("w") as file:
        process = subprocess.Popen(words, cwd=ROOT, stderr=file)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def watch(process: subprocess.Popen, log: Path, seconds: float) -> list[int]:
    """Resident memory once a second, from the moment when the model is ready."""
    # The session compiles first.
    deadline = time.monotonic() + 200
    while "\nmemory " not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    curve = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        curve.append(resident(process.pid))
        time.sleep(1)
    return curve


def check_flat(curve: list[int]) -> None:
    """Memory stays where it was after the first third."""
    plateau = curve[len(curve) // 3 :]
    assert max(plateau) - plateau[0] < GROWTH, curve


def check_recording(path: Path, seconds: float) -> None:
    """It plays, its times rise, and they span about the time that it took."""
    times = picture_times(path)
    # A second of the camera's ten frames.
    assert len(times) > 10
    for a, b in itertools.pairwise(times):
        assert a < b
    # a start on a busy machine and the pauses of the network are not recorded
    length = times[-1] - times[0]
    assert length < seconds + 30
    assert num_pictures(path) == len(times)


FAULTS: dict[str, dict[str, float]] = {
    # Two datagrams of a hundred: a bad radio link, on which pictures still come.
    "loss": {"loss": 0.02},
    "reorder": {"reorder": 0.05},
    "repeat": {"repeat": 0.05},
    "pause": {"pause": 0.002},
    "all": {"loss": 0.01, "reorder": 0.02, "repeat": 0.02, "pause": 0.001},
}
KINDS = [*FAULTS, "resize", "wrap", "stalled reader"]
EACH = 60 * MINUTES / len(KINDS)
"""Seconds of each kind of fault in the nightly run."""


def run_recorded(
    command, folder: Path, seconds: float, camera: Callable[[int], Camera], **faults
) -> int:
    """A session from a camera through a bad network into a file; returns the faults."""
    port = free_port()
    log = folder / "log"
    output = folder / "o.mkv"
    report = folder / "r.json"
    limits = ("--timeout", 5, "--reconnect", 60, "--report", report)
    address = f"udp://127.0.0.1:{port}"
    words = command("--video", address, "-o", output, *limits)
    with (
        Network(port, seed=1, **faults) as network,
        camera(network.port),
        session(words, log) as process,
    ):
        curve = watch(process, log, seconds)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    check_flat(curve)
    check_recording(output, seconds)
    facts = json.loads(report.read_text("utf-8"))
    assert facts["frames"] > 10
    return network.num_faults


def test_a_bad_network_for_seconds(request, command, tmp_path: Path) -> None:
    faults = FAULTS["all"]
    number = run_recorded(command, tmp_path, 6, lambda port: Camera(port), **faults)
    count(request, "faults of a live network", number)
    count(request, "seconds of live faults", 6)


@pytest.mark.nightly
@pytest.mark.timeout(EACH + 600)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_network_for_long(request, command, tmp_path: Path, kind: str) -> None:
    faults = FAULTS[kind]
    number = run_recorded(command, tmp_path, EACH, lambda port: Camera(port), **faults)
    count(request, "faults of a live network", number)
    count(request, "seconds of live faults", round(EACH))


@pytest.mark.nightly
@pytest.mark.timeout(EACH + 600)
@pytest.mark.parametrize("kind", ["resize", "wrap"])
def test_a_camera_that_changes(request, command, tmp_path: Path, kind: str) -> None:
    """Another size every few seconds, or a clock that wraps during the session."""
    # The wrap comes in the middle of the session.
    begin = WRAP / 90_000 - EACH / 2 if kind == "wrap" else 0
    sizes = ((64, 48), (96, 64)) if kind == "resize" else ((64, 48),)
    # Longer than the session and its start, or the camera would begin anew.
    spell = 10.0 if kind == "resize" else 2 * EACH + 600

    def camera(port: int) -> Camera:
        return Camera(port, begin, sizes, spell)

    run_recorded(command, tmp_path, EACH, camera)
    count(request, "seconds of live faults", round(EACH))


@pytest.mark.nightly
@pytest.mark.timeout(EACH + 600)
def test_a_reader_that_stalls(request, command, tmp_path: Path) -> None:
    """It reads and stops reading in turns; the session drops frames and lives on."""
    port = free_port()
    log = tmp_path / "log"
    listener = socket.create_server(("127.0.0.1", 0))
    target = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    address = f"udp://127.0.0.1:{port}"
    words = command("--video", address, "-o", target, "--timeout", 30)
    over = threading.Event()

    def read() -> None:
        line, _ = listener.accept()
        line.settimeout(0.5)
        with line:
            while not over.wait(0.01):
                # Eight seconds fill every buffer on the way; twelve empty them.
                stalls = time.monotonic() % 20 < 8
                try:
                    if not stalls and not line.recv(65536):
                        return
                except TimeoutError:
                    continue

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with Camera(port), session(words, log) as process:
        curve = watch(process, log, EACH)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        # The second signal interrupts a session that waits for its reader.
        assert process.wait(60) in (0, 130), log.read_text()
    over.set()
    listener.close()
    assert "Traceback" not in log.read_text()
    check_flat(curve)
    count(request, "seconds of live faults", round(EACH))
