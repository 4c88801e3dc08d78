"""A stream that goes on and on in real time: flat memory, no drift of the clock,
nothing late.

    SOAK_MINUTES=60 python -m pytest -m nightly -s tests/infer/test_soak.py

Twenty seconds without SOAK_MINUTES.
"""

import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from clips import ROOT
from streams import BITS, UDP_IN, Receiver, Sender, free_port

SECONDS = 60 * float(os.environ.get("SOAK_MINUTES", 1 / 3))
FPS = 10
WARM_UP = min(120.0, SECONDS / 4)
"""Seconds of stream after which no more memory may be taken."""
RING = "fifo_size=2000&overrun_nonfatal=1"
"""FFmpeg's own ring of received packets, 376 KB: all of it becomes resident as the
stream runs through it.
"""
GROWTH = 8 * 1024
"""KiB that resident memory may wander in the second half; one upscaled frame kept would
be 144 KiB.
"""
LATER = 50.0
"""Milliseconds by which the frames that are in time (the fastest twentieth) may be
later at the end than at the beginning; the others depend on what else the machine does.
"""


def resident(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    _, kib, _ = line.split()
    return int(kib)


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="needs Linux's count of resident memory",
)
def test_memory_stays_flat_and_the_clock_does_not_drift(command, tmp_path):
    source = free_port()
    sink = free_port()
    report = tmp_path / "report.json"
    words = command(
        "--video",
        f"udp://127.0.0.1:{source}?{RING}",
        "-o",
        f"udp://127.0.0.1:{sink}",
        "--report",
        report,
    )
    curve: list[tuple[float, int]] = []
    with (
        (tmp_path / "message").open("w+") as message,
        Receiver(f"udp://127.0.0.1:{sink}?{UDP_IN}") as receiver,
        Sender(
            f"udp://127.0.0.1:{source}?pkt_size=1316", FPS, count=10**9, audio=True
        ) as sender,
        subprocess.Popen(words, cwd=ROOT, stderr=message) as process,
    ):
        while not receiver.seen:
            assert process.poll() is None, Path(message.name).read_text()
            time.sleep(0.1)
        start_time = time.monotonic()
        while (age := time.monotonic() - start_time) < SECONDS + WARM_UP:
            assert process.poll() is None, Path(message.name).read_text()
            curve.append((age, resident(process.pid)))
            # Two looks a second: the curve of an hour is 7,200 numbers.
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, Path(message.name).read_text()
    assert sender.error is None
    numbers, times, late = timed(receiver, sender)
    describe(report, curve, numbers, times, late)
    memory = [kib for age, kib in curve if age > WARM_UP]
    tenth = max(2, len(memory) // 10)
    second_half = memory[len(memory) // 2 :]
    middle = np.median(second_half[:tenth])
    end = np.median(second_half[-tenth:])
    assert end - middle < GROWTH, curve
    beginning = np.median(memory[:tenth])
    # Moments in which work piles up take memory that the allocator keeps
    assert max(memory) - beginning < 4 * GROWTH, curve
    assert len(numbers) > 0.5 * FPS * SECONDS  # a busy machine drops some
    drift = np.ptp(times - numbers / FPS)
    # every frame keeps its distance from every other, first to last
    assert drift < 1e-3
    window = max(2 * FPS, len(late) // 10)
    first = np.percentile(late[:window], 5)
    last = np.percentile(late[-window:], 5)
    assert last - first < LATER, late


def timed(
    receiver: Receiver, sender: Sender
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, timestamp in seconds, milliseconds from sending to showing: of every
    frame shown after warm-up.
    """
    turns = 0
    last = 0
    result = []
    first = next(iter(receiver.seen))[2]
    for number, seconds, moment in receiver.seen:
        turns += number < last  # pictures say their number modulo 1024
        last = number
        result.append(((turns << BITS) + number, seconds, moment))
    numbers = []
    times = []
    late = []
    for number, seconds, moment in result:
        if moment > first + WARM_UP:
            delay = moment - sender.sent[number]
            numbers.append(number)
            times.append(seconds)
            late.append(1e3 * delay)
    return np.array(numbers), np.array(times), np.array(late)


def describe(
    report: Path, curve: list, numbers: np.ndarray, times: np.ndarray, late: np.ndarray
) -> None:
    """The measurements, for -s and docs/live.md."""
    result = json.loads(report.read_text("utf-8"))
    print(
        f"\n{len(numbers)} frames shown in {result['seconds'] / 60:.1f} min, "
        f"{result['dropped']} dropped"
    )
    for age, kib in itertools.islice(curve, 0, None, max(1, len(curve) // 12)):
        print(f"resident {kib / 1024:8.1f} MiB after {age / 60:6.2f} min")
    print(
        f"timestamps off by at most {1e3 * np.ptp(times - numbers / FPS):.3f} ms "
        f"over {np.ptp(times):.1f} s"
    )
    for part in np.array_split(late, min(10, max(1, len(late) // FPS))):
        low, median = np.percentile(part, (5, 50))
        print(
            f"sent to shown: 5 % within {low:6.1f} ms, median {median:6.1f} ms, "
            f"most {part.max():7.1f} ms"
        )
    print(f"model {result['model_ms']}, latency {result['latency_ms']}")
