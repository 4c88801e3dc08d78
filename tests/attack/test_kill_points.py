"""A job that is killed before any single file operation ends well when the same command
is given again: the right picture, the report, nothing lost and nothing left behind.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from infer.__main__ import main
from tests.attack.conftest import DATA
from tests.attack.killer import Killer
from tests.attack.recordings import record
from tests.attack.tally import count

ROOT = Path(__file__).parents[2]
# Any of them, but always the same one.
PHOTOGRAPH = min(os.listdir(DATA / "field/exif_mixed"))
STRANGER = b"not ours"
NUM_KILLS = int(os.environ.get("SDVSR_KILLS", "300"))
pytestmark = [
    pytest.mark.timeout(900, method="thread"),
    # what a death leaves open is closed late, as after a real one
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Death(BaseException):
    """The end of the process, as code in it would never see it."""


class Job(NamedTuple):
    """Words of a command within a folder, and the content of the folder before it."""

    words: tuple[str, ...]
    prepare: Callable[[Path], None]


def nothing(folder: Path) -> None:
    """The folder holds the input alone."""


def empty_folder(folder: Path) -> None:
    (folder / "o").mkdir()


def strangers(folder: Path) -> None:
    empty_folder(folder)
    (folder / "o/thesis.tex").write_bytes(STRANGER)


def earlier_output(folder: Path) -> None:
    output = folder / "o.mp4"
    source = folder / "in.mp4"
    shutil.copy(source, output)


def second_input(folder: Path) -> None:
    empty_folder(folder)
    source = folder / "in.mp4"
    shutil.copy(source, folder / "other.mp4")


def changing_input(folder: Path) -> None:
    source = folder / "in.ts"
    shutil.copy(DATA / "field/aspect_changes.ts", source)


def picture(folder: Path) -> None:
    source = folder / "in.jpg"
    shutil.copy(DATA / "field/exif_mixed" / PHOTOGRAPH, source)


REPORT = ("--report", "r.json")
JOB = ("--video", "in.mp4", "--segment", "2", *REPORT)
JOBS = {
    "file": Job((*JOB, "-o", "o.mp4"), nothing),
    "frames": Job((*JOB, "-o", "o"), nothing),
    "empty folder": Job((*JOB, "-o", "o"), empty_folder),
    "folder of others": Job((*JOB, "-o", "o", "--overwrite"), strangers),
    "overwrite": Job((*JOB, "-o", "o.mp4", "--overwrite"), earlier_output),
    "batch": Job(
        ("--video", "in.mp4", "other.mp4", "-o", "o", "--segment", "2", *REPORT),
        second_input,
    ),
    "split": Job(
        ("--video", "in.ts", "-o", "o.mp4", "--on-resize", "split", *REPORT),
        changing_input,
    ),
    "picture": Job(("--video", "in.jpg", "-o", "o.png", *REPORT), picture),
}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder but the report, whose times differ."""
    result = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "r.json":
            name = str(path.relative_to(folder))
            result[name] = path.read_bytes()
    return result


class Place:
    """A job in folders of its own, with the result of a run that nobody disturbed."""

    def __init__(self, root: Path, name: str, model: str) -> None:
        self._root = root
        self._job = JOBS[name]
        self._model = model
        self._number = 0
        root.mkdir()
        source = root / "in.mp4"
        self.source = record(source, "mp4", "libx264", count=4)

    def fresh(self) -> Path:
        """A new folder, ready for the job."""
        self._number += 1
        folder = self._root / str(self._number)
        folder.mkdir()
        shutil.copy(self.source, folder / "in.mp4")
        self._job.prepare(folder)
        return folder

    @property
    def words(self) -> list[str]:
        return [*self._job.words, "--model", self._model]


class _Hook:
    """One audit hook for all killers, because Python removes none."""

    def __init__(self) -> None:
        self._killer: Killer | None = None
        self._is_installed = False

    def install(self, killer: Killer) -> None:
        self._killer = killer
        if not self._is_installed:
            sys.addaudithook(self)
            self._is_installed = True

    def __call__(self, event: str, arguments: tuple) -> None:
        if self._killer is not None:
            self._killer(event, arguments)


HOOK = _Hook()


def run_until(folder: Path, words: list[str], number: int) -> Killer:
    """Run in this process until its operation ``number``; nothing after it happens."""

    def die() -> None:
        raise Death

    killer = Killer(str(folder), number, die)
    HOOK.install(killer)
    try:
        assert main(words) in (0, 1, 2)
    except Death:
        pass
    finally:
        killer.is_armed = False
        release_locks(folder)
    return killer


def release_locks(folder: Path) -> None:
    """Close the lock files of a folder, as the end of a process does."""
    # A lock belongs to an open file, and Python keeps those of frames in a traceback.
    handles = Path("/proc/self/fd")
    for handle in list(handles.iterdir()):
        try:
            target = os.readlink(handle)
        except OSError:  # that of the listing itself
            continue
        is_lock = target.removesuffix(" (deleted)").endswith("/lock")
        if is_lock and target.startswith(str(folder)):
            os.close(int(handle.name))


def check_again(folder: Path, status: int, text: str, expected: dict) -> None:
    """The second run of the command has left the files of an undisturbed one."""
    assert status == 0, text
    assert contents(folder) == expected, text
    report = json.loads((folder / "r.json").read_text("utf-8"))
    reports = report if isinstance(report, list) else [report]
    for entry in reports:
        assert "error" not in entry, report
    assert "Traceback" not in text


@pytest.fixture
def place(
    request, tmp_path: Path, tiny_model: str, monkeypatch
) -> tuple[Place, int, dict]:
    """The job of that name, its number of operations, and the files it leaves."""
    place = Place(tmp_path / "jobs", request.param, tiny_model)
    folder = place.fresh()
    monkeypatch.chdir(folder)
    # Once without a kill, to count the operations and to have the result.
    killer = run_until(folder, place.words, -1)
    expected = contents(folder)
    assert (folder / "r.json").exists()
    return place, killer.count, expected


LAST = 5
"""Kills in CI around the moment when the output gets its name, where most is at stake.
"""


@pytest.mark.parametrize(
    "place",
    ["file", pytest.param("empty folder", marks=pytest.mark.nightly)],
    indirect=True,
)
def test_some_kills(request, place, monkeypatch, capsys) -> None:
    job, num_operations, expected = place
    points = {num_operations // 3, *range(num_operations - LAST, num_operations)}
    for number in sorted(points):
        kill_and_go_on(job, number, expected, monkeypatch, capsys)
    count(request, "kills", len(points))


def kill_and_go_on(job: Place, number: int, expected: dict, monkeypatch, capsys):
    """Run until that operation, and give the same command again."""
    folder = job.fresh()
    monkeypatch.chdir(folder)
    killer = run_until(folder, job.words, number)
    assert killer.count > number
    capsys.readouterr()
    status = main(job.words)
    text = f"before {killer.operations[number]}:\n{capsys.readouterr().err}"
    check_again(folder, status, text, expected)
    shutil.rmtree(folder)


def run_for_real(folder: Path, number: int, words: list[str]):
    """The command as a process that is killed before its operation ``number``."""
    killer = [sys.executable, "-m", "tests.attack.killer", str(folder), str(number)]
    return subprocess.run(
        [*killer, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        # A process of its own imports JAX for every kill.
        timeout=600,
    )


SHARE = 10
"""Every test of the nightly run kills at each tenth point, from another first one."""


def spread(num_operations: int) -> list[int]:
    """Numbers of the operations to kill before: all, or this job's part of NUM_KILLS,
    with the first and the last.
    """
    share = max(2, NUM_KILLS // len(JOBS))
    count = min(num_operations, share)
    last = num_operations - 1
    step = last / (count - 1)
    return sorted({round(k * step) for k in range(count)})


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(SHARE))
@pytest.mark.parametrize("place", JOBS, indirect=True)
def test_kills_at_every_operation(
    request, place, first: int, monkeypatch, capsys
) -> None:
    job, num_operations, expected = place
    points = spread(num_operations)[first::SHARE]
    for number in points:
        kill_and_go_on(job, number, expected, monkeypatch, capsys)
    count(request, "kills", len(points))


@pytest.mark.nightly
@pytest.mark.parametrize("place", JOBS, indirect=True)
def test_kills_of_a_process(request, place) -> None:
    """The same with a real end of a process, at each tenth point."""
    job, num_operations, expected = place
    points = spread(num_operations)[::SHARE]
    num_kills = 0
    for number in points:
        folder = job.fresh()
        killed = run_for_real(folder, number, job.words)
        # a process of its own may have less to do at its end
        assert killed.returncode in (-9, 0), killed.stderr
        if killed.returncode == 0:
            break
        again = run_for_real(folder, -1, job.words)
        check_again(folder, again.returncode, again.stderr, expected)
        shutil.rmtree(folder)
        num_kills += 1
    # the first point is before the first operation, which no process is without
    assert num_kills > 0
    count(request, "kills of a process", num_kills)


@pytest.mark.nightly
@pytest.mark.parametrize("place", JOBS, indirect=True)
def test_a_job_that_is_killed_again_and_again(request, place) -> None:
    """Killed a little later each time, it still comes to its end."""
    job, num_operations, expected = place
    folder = job.fresh()
    num_kills = 0
    for number in range(3, num_operations):
        again = run_for_real(folder, number, job.words)
        if again.returncode == 0:
            break
        assert again.returncode == -9, again.stderr
        num_kills += 1
    assert num_kills > 0
    count(request, "kills of a process", num_kills)
    again = run_for_real(folder, -1, job.words)
    check_again(folder, again.returncode, again.stderr, expected)
