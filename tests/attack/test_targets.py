"""Nothing is lost: no option overwrites files of others, a full disk is told, and
a planted work folder is not trusted.
"""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infer.jobs.sealed import sealed
from sdvsr_jax.weights.checksum import sha256
from tests.attack.conftest import Upscale
from tests.attack.recordings import record

THESIS = b"four years of work"


def clip(folder: Path, count: int = 4) -> Path:
    """A small video."""
    source = folder / "in.mp4"
    return record(source, "mp4", "libx264", count=count)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("place", ["input", "stranger", "link", "folder"])
def test_a_report_replaces_nothing(upscale: Upscale, tmp_path: Path, place: str):
    source = clip(tmp_path)
    stranger = tmp_path / "thesis.json"
    stranger.write_bytes(THESIS)
    (tmp_path / "link.json").symlink_to(stranger)
    (tmp_path / "folder").mkdir()
    names = {"input": "in.mp4", "stranger": "thesis.json", "link": "link.json"}
    report = tmp_path / names.get(place, place)
    before = contents(tmp_path)
    output = tmp_path / "o.mp4"
    words = ("--video", source, "-o", output, "--report", report)
    upscale(*words).check_refused(report.name, status=2)
    assert contents(tmp_path) == before


RESULTS = {
    "--json": "thesis.json",
    "--csv": "thesis.csv",
    "--plot": "thesis.png",
    "--compare": "thesis.png",
}


@pytest.mark.parametrize("place", ["input", "stranger", "link", "pipe", "folder"])
@pytest.mark.parametrize("option", RESULTS)
def test_results_replace_nothing(
    refusal, tmp_path: Path, option: str, place: str
) -> None:
    source = clip(tmp_path)
    target = tmp_path / RESULTS[option]
    if place == "input":
        source = source.rename(target)
    elif place == "link":
        target.symlink_to(source)
    elif place == "pipe":
        os.mkfifo(target)
    elif place == "folder":
        target.mkdir()
    else:
        target.write_bytes(THESIS)
    before = contents(tmp_path)
    refusal("evaluate", "--hr", source, option, target).check_refused(option, status=2)
    assert contents(tmp_path) == before


def test_a_report_is_not_the_output(upscale: Upscale, tmp_path: Path) -> None:
    output = tmp_path / "o.mp4"
    words = ("--video", clip(tmp_path), "-o", output)
    outcome = upscale(*words, "--report", output)
    outcome.check_refused("--report", status=2)
    assert not output.exists()


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_report_is_no_device(
    upscale: Upscale, tmp_path: Path, overwrite: tuple[str, ...]
) -> None:
    """A pipe stands for every node that is no regular file, such as /dev/full."""
    node = tmp_path / "node"
    os.mkfifo(node)
    output = tmp_path / "o.mp4"
    words = ("--video", clip(tmp_path), "-o", output, *overwrite)
    upscale(*words, "--report", node).check_refused("node", status=2)
    assert node.is_fifo()


def test_a_report_of_ours_is_written_again(upscale: Upscale, tmp_path: Path) -> None:
    output = tmp_path / "o.mp4"
    words = ("--video", clip(tmp_path), "-o", output, "--overwrite")
    for _ in range(2):
        report = tmp_path / "r.json"
        upscale(*words, "--report", report).check_done()


@pytest.mark.parametrize("output", ["thesis", ".", "..", "thesis/sub"])
def test_convert_empties_no_folder(
    refusal, tiny_model: str, tmp_path: Path, monkeypatch, output: str
) -> None:
    work = tmp_path / "work"
    (work / "thesis/sub").mkdir(parents=True)
    (work / "thesis/thesis.tex").write_bytes(THESIS)
    (work / "thesis/sub/figure.png").write_bytes(THESIS)
    (tmp_path / "neighbour").write_bytes(THESIS)
    monkeypatch.chdir(work)
    before = contents(tmp_path)
    outcome = refusal("convert", "--model", tiny_model, "-o", output, "--overwrite")
    after = contents(tmp_path)
    for name, content in before.items():
        assert after.get(name) == content, name
    outcome.check_refused(status=2)
    assert after == before


def test_frames_take_no_folder_from_its_owner(upscale: Upscale, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    thesis = folder / "thesis.tex"
    thesis.write_bytes(THESIS)
    words = ("--video", clip(tmp_path), "-o", folder)
    upscale(*words).check_refused("--overwrite", status=2)
    upscale(*words, "--overwrite").check_done()
    assert thesis.read_bytes() == THESIS


@pytest.mark.parametrize("name", ["list0.ts", "list3.ts", "list.m3u8"])
def test_a_list_takes_no_segment_of_others(
    upscale: Upscale, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(THESIS)
    clip(tmp_path)
    before = contents(tmp_path)
    source = tmp_path / "in.mp4"
    words = ("--video", source, "-o", tmp_path / "list.m3u8")
    outcome = upscale(*words)
    assert (tmp_path / name).read_bytes() == THESIS
    if name == "list3.ts":  # a short stream does not come that far, but it might have
        return
    outcome.check_refused(status=2)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("output", ["o.mp4", "o.ts", "frames"])
def test_an_output_over_a_node_is_refused(
    upscale: Upscale, tmp_path: Path, output: str
) -> None:
    os.mkfifo(tmp_path / output)
    words = ("--video", clip(tmp_path), "-o", tmp_path / output, "--overwrite")
    upscale(*words).check_refused(output, status=2)
    assert (tmp_path / output).is_fifo()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes meanwhile, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Without it the system ends the process instead of refusing the write.
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("output", ["o.ts", "o.m3u8"])
# Full from the start, and full after some packets.
@pytest.mark.parametrize("size", [0, 4000])
def test_a_full_disk_is_told_live(
    upscale: Upscale, tmp_path: Path, output: str, size: int
) -> None:
    # More frames than fit into 4,000 bytes.
    source = clip(tmp_path, 12)
    with files_up_to(size):
        outcome = upscale("--video", source, "-o", tmp_path / output)
    outcome.check_refused("disk is full", status=1)


def planted(folder: Path, kind: str) -> Path:
    """A work folder of o.mp4 as an attacker leaves it; returns the victim's folder."""
    victim = folder / "victim"
    victim.mkdir()
    (victim / "000000.mkv").write_bytes(THESIS)
    lock = victim / "lock"
    lock.write_bytes(THESIS)
    parts = folder / ".o.mp4.parts"
    if kind == "folder link":
        parts.symlink_to(victim)
        return victim
    parts.mkdir()
    if kind == "open to others":
        # After it was made, because the umask would take the bits away.
        parts.chmod(0o777)
    elif kind == "of another user":
        # The number of "nobody" on most systems.
        os.chown(parts, 65534, 65534)
    else:
        (parts / kind).symlink_to(lock)
    return victim


TRAPS = ["folder link", "open to others", "lock", "job.json", "joined.unfinished"]


@pytest.mark.parametrize("kind", [*TRAPS, "video.unfinished", "of another user"])
def test_a_planted_work_folder_is_not_followed(
    upscale: Upscale, tmp_path: Path, kind: str
) -> None:
    """Refused, or done without touching the targets of the links."""
    if kind == "of another user" and os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    victim = planted(tmp_path, kind)
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", clip(tmp_path), "-o", output)
    outcome.check_words()
    remains = contents(victim)
    # Whatever the command has said about it.
    assert remains == {"000000.mkv": THESIS, "lock": THESIS}
    if kind in ("folder link", "open to others", "of another user"):
        outcome.check_refused(".o.mp4.parts", status=1)


# Private, and writable for everybody.
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_planted_mark_gives_no_output_away(
    upscale: Upscale, tmp_path: Path, mode: int
) -> None:
    """The mark of a finished job lets nobody replace a file that no job has made."""
    output = tmp_path / "o.mp4"
    output.write_bytes(THESIS)
    files = {"o.mp4": sha256(output)}
    mark = tmp_path / ".o.mp4.done"
    record_of_job = sealed({"job": None, "files": files, "report": None})
    mark.write_text(record_of_job, "utf-8")
    mark.chmod(mode)
    outcome = upscale("--video", clip(tmp_path), "-o", output)
    outcome.check_refused("already exists", status=2)
    assert output.read_bytes() == THESIS


def test_without_a_cache_home_nothing_goes_to_the_current_folder(
    upscale: Upscale, tmp_path: Path, monkeypatch
) -> None:
    source = clip(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    output = tmp_path / "o.mp4"
    upscale("--video", source, "-o", output).check_done()
    assert os.listdir(here) == []


def test_a_relative_cache_home_is_no_folder_here(
    upscale: Upscale, tmp_path: Path, monkeypatch
) -> None:
    """The XDG rules call relative paths invalid: they would follow the user around."""
    source = clip(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    output = tmp_path / "o.mp4"
    upscale("--video", source, "-o", output).check_done()
    assert os.listdir(here) == []
