"""Workers that Ray starts: real processes, and the bytes of a run without them.

Orders, deaths and damage are tried out in test_workers, by workers in one process.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clips import ROOT, clip_of, scenes
from rays import MARK, actors, cluster, wait_until

from infer.jobs.work_folder import folder_of

pytest.importorskip("ray")
# Most of it is the start of Ray and of its workers, which import JAX and compile.
pytestmark = [pytest.mark.heavy(300), pytest.mark.timeout(900)]


WORDS = ("--segment", 4, "--workers", 2, "--worker-patience", 25)
LONG = [9, 3, 14, 6, 11] * 12
"""Scenes of a film that takes its workers some time."""


NUM_MOMENTS = int(os.environ.get("SDVSR_WORKER_KILLS", "20"))
LONGEST_WAIT = 12.0
"""Seconds from the start of the last worker to a death."""


class Film:
    """A film, the bytes of a single run, and the output of workers."""

    def __init__(self, folder: Path, run: Callable, command: Callable, model: str):
        source = folder / "in.mkv"
        self.source = clip_of(source, scenes(*LONG))
        self.output = folder / "shared.mkv"
        self._told = folder / "told.txt"
        self._command = command
        self._model = model
        self._processes: list[subprocess.Popen[str]] = []
        reference = folder / "alone.mkv"
        words = ("--video", self.source, "--segment", 4, "-o", reference)
        single = run(*words, model=model)
        assert single.returncode == 0, single.stderr
        self.content = reference.read_bytes()

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
        folder = folder_of(str(self.output))
        return len(list(folder.glob("[0-9]*.json")))

    def end(self, process: "subprocess.Popen[str]") -> None:
        """Waits for a command, whose output must be that of a single run."""
        # A film of over 500 frames, by workers that must be replaced meanwhile.
        assert process.wait(500) == 0, self.told
        assert self.output.read_bytes() == self.content


def workers() -> list[int]:
    """Processes of the workers that commands of this test have started."""
    return actors(os.getpid())


@pytest.fixture
def film(run, command, tmp_path, cutting_model) -> Iterator[Film]:
    film = Film(tmp_path, run, command, cutting_model)
    yield film
    film.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are killed")
def test_a_killed_worker_a_hanging_one_and_a_killed_driver(film):
    process = film.start()
    wait_until(lambda: film.num_groups >= 4)
    victim, *_ = workers()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "died; another one does its part" in film.told)
    wait_until(lambda: len(workers()) == 2)
    hanging, *_ = workers()
    # Alive for the system, and silent for ever.
    os.kill(hanging, signal.SIGSTOP)
    wait_until(lambda: "has not moved for 25 s" in film.told)
    process.kill()
    process.wait()
    assert not film.output.exists()
    process = film.start()
    film.end(process)
    assert f"frames in {folder_of(str(film.output))}" in film.told


def test_a_node_that_leaves_takes_nothing_with_it_and_may_come_back(film):
    with cluster() as nodes:
        nodes.add(num_cpus=1)
        leaving = nodes.add(num_cpus=1)
        process = film.start("--cluster", nodes.address)
        wait_until(lambda: film.num_groups >= 4)
        nodes.remove(leaving)
        wait_until(lambda: "died; another one does its part" in film.told)
        nodes.add(num_cpus=1)
        wait_until(lambda: len(workers()) == 2)
        film.end(process)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are killed")
@pytest.mark.parametrize(
    "num_moments", [3, pytest.param(NUM_MOMENTS, marks=pytest.mark.nightly)]
)
# A minute for each death: a new worker loads the model, and a group is done again.
@pytest.mark.timeout(400 + 60 * NUM_MOMENTS)
def test_half_of_the_workers_die_at_random_moments(num_moments, film):
    """Two of four each time, on a cluster of two nodes; the command is given again as
    long as moments are left.
    """
    chance = random.Random(num_moments)
    num_kills = 0
    with cluster() as nodes:
        for _ in range(2):
            nodes.add(num_cpus=2)
        while num_kills < num_moments:
            process = film.start("--cluster", nodes.address, "--workers", 4)
            while num_kills < num_moments and process.poll() is None:
                num_kills += kill_half(process, chance)
            film.end(process)
            film.output.unlink()


def kill_half(process: "subprocess.Popen[str]", chance: random.Random) -> bool:
    """Kills two workers at some moment after all are there; False if none was left."""
    wait_until(lambda: process.poll() is not None or len(workers()) == 4)
    time.sleep(chance.uniform(0, LONGEST_WAIT))
    present = workers()
    for victim in chance.sample(present, min(2, len(present))):
        os.kill(victim, signal.SIGKILL)
    return bool(present)


def test_a_full_object_store_is_told_and_the_same_command_goes_on(film):
    """All of the store is another's, and so is the disk that Ray takes in its place."""
    # Ray takes no less than 75 MiB.
    small = {"object_store_memory": 80 * 2**20}
    nowhere_else = {
        "automatic_object_spilling_enabled": False,
        "local_fs_capacity_threshold": 0.0,
        # Small results go another way.
        "max_direct_call_object_size": 10_000,
    }
    with cluster(_system_config=nowhere_else, **small) as nodes:
        nodes.add(num_cpus=2, resources={"here": 1}, **small)
        # Of 80 MiB; the store keeps some for itself.
        assert nodes.fill() > 60 * 2**20
        process = film.start("--cluster", nodes.address)
        assert process.wait(400) == 1, film.told
        assert film.told.count("error: ") == 1
        assert "object store" in film.told
        nodes.free()
        film.end(film.start("--cluster", nodes.address))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are counted")
def test_two_workers_give_the_bytes_of_one_run_and_end(run, tmp_path, cutting_model):
    # Nine scenes, 36 frames.
    source = clip_of(tmp_path / "in.mkv", scenes(*[5, 3, 4] * 3))
    reference = tmp_path / "alone.mkv"
    shared = tmp_path / "shared.mkv"
    report = tmp_path / "r.json"
    before = len(actors())
    words = ("--video", source, "--segment", 4)
    single = run(*words, "-o", reference, model=cutting_model)
    assert single.returncode == 0, single.stderr
    words = (*words, "-o", shared, "--workers", 2, "--report", report)
    both = run(*words, model=cutting_model)
    assert both.returncode == 0, both.stderr
    assert "times as fast as one by 8 cuts" in both.stderr
    assert shared.read_bytes() == reference.read_bytes()
    assert json.loads(report.read_text("utf-8"))["frames"] == 36
    assert len(actors()) <= before
