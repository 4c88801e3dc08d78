"""No option overwrites files of others: a target is new, or ours by its mark, or
named by --overwrite and a regular file.
"""

import json
import os
import stat
from pathlib import Path

import pytest
from clips import make_video

from infer.__main__ import main
from infer.targets import check_not_used, check_replaceable, is_report
from sdvsr_jax import save
from sdvsr_jax.atomic import atomic_write
from tests.tiny_models import random_params, tiny_published

# The size of most tests: another one is another compilation.
SIZE = (16, 16)
PRECIOUS = b"precious"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(make_video(str(tmp_path / "in.mp4"), range(2), SIZE))


def things(folder: Path) -> dict[str, Path]:
    """One of everything that can have a name, none of it ours."""
    paths = {name: folder / name for name in ("file", "link", "dangling", "pipe")}
    paths["folder"] = folder / "full folder"
    paths["file"].write_bytes(PRECIOUS)
    victim = folder / "victim"
    victim.write_bytes(PRECIOUS)
    paths["link"].symlink_to(victim)
    paths["dangling"].symlink_to(folder / "nothing")
    # It stands for devices and sockets, too, which not every user can make.
    os.mkfifo(paths["pipe"])
    paths["folder"].mkdir()
    (paths["folder"] / "thesis").write_bytes(PRECIOUS)
    return paths


def picture_of(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Kind and content of everything below a folder."""
    result: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        kind = stat.S_IFMT(path.lstat().st_mode)
        content: bytes | str = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        result[str(path.relative_to(folder))] = (kind, content)
    return result


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["file", "link", "dangling", "pipe", "folder"])
def test_only_a_regular_file_is_replaced_and_only_by_name(tmp_path, name, overwrite):
    target = things(tmp_path)[name]
    before = picture_of(tmp_path)
    if name == "file" and overwrite:
        check_replaceable(str(target), overwrite)
        return
    with pytest.raises(ValueError, match=r"already exists|expected a regular file"):
        check_replaceable(str(target), overwrite)
    if name != "file":
        with (
            pytest.raises(ValueError, match="expected a regular file"),
            atomic_write(target),
        ):
            pass
    assert picture_of(tmp_path) == before


def test_an_atomic_write_that_fails_leaves_what_there_was(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(PRECIOUS)
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as part:  # noqa: PT012
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert picture_of(tmp_path) == {"file": (stat.S_IFREG, PRECIOUS)}
    with atomic_write(target) as part:
        part.write_bytes(b"whole")
    assert picture_of(tmp_path) == {"file": (stat.S_IFREG, b"whole")}


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    "report", ["in.mp4", "in_x4.mp4", "link", "dangling", "pipe", "full folder"]
)
def test_a_report_never_replaces_input_output_or_what_is_no_file(
    upscale, source, tmp_path, report, overwrite
):
    things(tmp_path)
    before = picture_of(tmp_path)
    words = "--video", source, "--report", tmp_path / report, *overwrite
    status, stderr = upscale(*words)
    assert status == 2, stderr
    assert picture_of(tmp_path) == before


def test_a_report_replaces_a_report_and_other_files_only_when_asked(
    upscale, source, tmp_path
):
    report = tmp_path / "r.json"
    words = "--video", source, "--report", report
    report.write_bytes(PRECIOUS)
    status, stderr = upscale(*words)
    assert status == 2
    assert (
        "already exists; give --overwrite to replace it or another --report" in stderr
    )
    assert report.read_bytes() == PRECIOUS
    assert not (tmp_path / "in_x4.mp4").exists()
    status, stderr = upscale(*words, "--overwrite")
    assert status == 0, stderr
    assert is_report(report)
    status, stderr = upscale(*words, "-o", tmp_path / "other.mkv")
    assert status == 0, stderr
    assert json.loads(report.read_text())["output"].endswith("other.mkv")


def test_a_report_of_a_folder_of_frames_is_none_of_its_files(tmp_path):
    (tmp_path / "1.png").touch()
    report = str(tmp_path / "r.json")
    check_not_used(report, [str(tmp_path)], "--report")
    with pytest.raises(ValueError, match="read or written by the same command"):
        check_not_used(str(tmp_path / "1.png"), [str(tmp_path)], "--report")


@pytest.mark.parametrize("name", ["link", "dangling", "pipe", "full folder"])
@pytest.mark.parametrize("suffix", ["", ".mkv", ".ts"])
def test_an_output_never_replaces_what_is_no_file(
    upscale, source, tmp_path, name, suffix
):
    place = tmp_path / "outputs"
    place.mkdir()
    things(place)
    target = place / f"{name}{suffix}"
    if suffix:
        (place / name).rename(target)
    elif name == "full folder":
        return  # a folder for PNG frames, which may have others beside it
    before = picture_of(place)
    status, stderr = upscale("--video", source, "-o", target, "--overwrite")
    assert status == 2, stderr
    assert "Traceback" not in stderr
    assert picture_of(place) == before


def test_frames_replace_no_link_in_their_folder(upscale, tmp_path):
    source = make_video(str(tmp_path / "in.mp4"), range(2), SIZE)
    frames = tmp_path / "frames"
    frames.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(PRECIOUS)
    (frames / "00000001.png").symlink_to(victim)
    status, _ = upscale("--video", source, "-o", frames, "--overwrite")
    assert status == 2
    assert victim.read_bytes() == PRECIOUS
    assert os.listdir(frames) == ["00000001.png"]


def test_live_segments_replace_no_file_of_the_user(upscale, source, tmp_path):
    playlist = tmp_path / "list.m3u8"
    words = "--video", source, "-o", playlist
    list0 = tmp_path / "list0.ts"
    list0.write_bytes(PRECIOUS)
    for overwrite in ((), ("--overwrite",)):
        status, stderr = upscale(*words, *overwrite)
        assert status == 2
        assert "list0.ts: is there already" in stderr
        assert list0.read_bytes() == PRECIOUS
    list0.unlink()
    status, stderr = upscale(*words)
    assert status == 0, stderr
    status, stderr = upscale(*words)
    assert status == 2, stderr
    # its own from before
    status, stderr = upscale(*words, "--overwrite")
    assert status == 0, stderr
    # A segment that this stream does not reach, but the next one might.
    list7 = tmp_path / "list7.ts"
    list7.write_bytes(PRECIOUS)
    status, stderr = upscale(*words, "--overwrite")
    assert status == 2, stderr
    assert list7.read_bytes() == PRECIOUS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ours.safetensors"
    save(path, tiny_published(), random_params(tiny_published()))
    return path


@pytest.mark.parametrize("output", ["desk", "desk/sub/..", ".."])
def test_converting_removes_no_folder(weights, tmp_path, monkeypatch, output, capsys):
    desk = tmp_path / "desk"
    sub = desk / "sub"
    sub.mkdir(parents=True)
    (desk / "thesis.tex").write_bytes(PRECIOUS)
    # From inside the folder it is "..".
    monkeypatch.chdir(sub if output == ".." else tmp_path)
    before = picture_of(tmp_path)
    words = ["convert", "--model", str(weights), "-o", output, "--overwrite"]
    status = main(words)
    assert status == 2
    assert "holds files that are no converted weights" in capsys.readouterr().err
    assert picture_of(tmp_path) == before


def test_converting_again_leaves_other_files_in_the_folder(weights, tmp_path):
    folder = tmp_path / "published"
    words = ["convert", "--model", str(weights), "-o", str(folder)]
    status = main(words)
    assert status == 0
    picture = picture_of(folder)
    (folder / "notes.txt").write_bytes(PRECIOUS)
    status = main(words)
    assert status == 2
    status = main([*words, "--overwrite"])
    assert status == 0
    expected = {**picture, "notes.txt": (stat.S_IFREG, PRECIOUS)}
    assert picture_of(folder) == expected
    assert os.listdir(tmp_path) == ["published"]
