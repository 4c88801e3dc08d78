"""Workers that Ray starts: real processes, and the bytes of a run without them.

Orders, deaths and damage are tried out in test_workers, by workers in one process.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clips import ROOT, clip_of, scenes

from infer.jobs.work_folder import folder_of

pytest.importorskip("ray")
pytestmark = [pytest.mark.heavy(300), pytest.mark.timeout(900)]


def actors(root: int | None = None) -> list[int]:
    """Processes of workers on this machine; those of a test's commands alone."""
    numbers = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        number = int(entry.parent.name)
        if command.startswith("ray::Worker") and (root is None or is_of(number, root)):
            numbers.append(number)
    return sorted(numbers)


def is_of(number: int, root: int) -> bool:
    """Whether a process is one of a command's: it has that mark in its environment."""
    try:
        environment = Path(f"/proc/{number}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={root}".encode() in environment.split(b"\0")


MARK = "SDVSR_TEST_MARK"
WORDS = ("--segment", 4, "--workers", 2, "--worker-patience", 25)
LONG = [9, 3, 14, 6, 11] * 12
"""Scenes of a film that takes its workers some time."""


def wait_until(look: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Film:
    """A film, the bytes of a single run, and the output of workers."""

    def __init__(self, folder: Path, run: Callable, command: Callable, model: str):
        self.source = clip_of(folder / "in.mkv", scenes(*LONG))
        self.output = folder / "shared.mkv"
        self._told = folder / "told.txt"
        self._command = command
        self._model = model
        self._processes: list[subprocess.Popen[str]] = []
        alone = folder / "alone.mkv"
        words = ("--video", self.source, "--segment", 4, "-o", alone)
        single = run(*words, model=model)
        assert single.returncode == 0, single.stderr
        self.content = alone.read_bytes()

    def start(self, *words: object) -> "subprocess.Popen[str]":
        command = self._command(
            *("--video", self.source, "-o", self.output, *WORDS, *words),
            model=self._model,
        )
        mark = {MARK: str(os.getpid())}
        with self._told.open("a") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, stderr=log, text=True, env=os.environ | mark
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Ends commands that a failed test has left."""
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def told(self) -> str:
        return self._told.read_text("utf-8")

    @property
    def num_groups(self) -> int:
        return len(list(folder_of(str(self.output)).glob("[0-9]*.json")))

    def end(self, process: "subprocess.Popen[str]") -> None:
        """Waits for a command, whose output must be that of a single run."""
        assert process.wait(500) == 0, self.told
        assert self.output.read_bytes() == self.content


@pytest.fixture
def film(run, command, tmp_path, cutting_model) -> Iterator[Film]:
    film = Film(tmp_path, run, command, cutting_model)
    yield film
    film.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are killed")
def test_a_killed_worker_a_hanging_one_and_a_killed_driver(film):
    process = film.start()
    wait_until(lambda: film.num_groups >= 4)
    os.kill(actors(os.getpid())[0], signal.SIGKILL)
    wait_until(lambda: "died; another one does its part" in film.told)
    wait_until(lambda: len(actors(os.getpid())) == 2)
    hanging = actors(os.getpid())[0]
    os.kill(hanging, signal.SIGSTOP)
    wait_until(lambda: "has not moved for 25 s" in film.told)
    process.kill()
    process.wait()
    assert not film.output.exists()
    process = film.start()
    film.end(process)
    assert f"frames in {folder_of(str(film.output))}" in film.told


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are counted")
def test_two_workers_give_the_bytes_of_one_run_and_end(run, tmp_path, cutting_model):
    source = clip_of(tmp_path / "in.mkv", scenes(*[5, 3, 4] * 3))
    alone, shared = tmp_path / "alone.mkv", tmp_path / "shared.mkv"
    report = tmp_path / "r.json"
    before = len(actors())
    words = ("--video", source, "--segment", 4)
    single = run(*words, "-o", alone, model=cutting_model)
    assert single.returncode == 0, single.stderr
    words = (*words, "-o", shared, "--workers", 2, "--report", report)
    both = run(*words, model=cutting_model)
    assert both.returncode == 0, both.stderr
    assert "times as fast as one by 8 cuts" in both.stderr
    assert shared.read_bytes() == alone.read_bytes()
    assert json.loads(report.read_text("utf-8"))["frames"] == 36
    assert len(actors()) <= before
