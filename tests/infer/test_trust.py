"""Files of a work folder are removed by their names, and nothing of anybody else's."""

import os
from pathlib import Path

import pytest

from infer.jobs.trust import LAST, erase, is_own_file

OWN = ("lock", "job.json", "000001.mkv", "000001.npz", "video.unfinished", LAST)
STRANGER = "thesis.tex"


def fill(folder: Path, *names: str) -> None:
    folder.mkdir()
    for name in names:
        (folder / name).touch()


def names_in(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_a_folder_of_a_job_is_removed_with_all_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    fill(folder, *OWN)
    fill(folder / "frames", "0.png")
    erase(folder)
    assert not folder.exists()


def test_a_file_of_somebody_else_stays_with_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    fill(folder, *OWN, STRANGER)
    erase(folder)
    assert names_in(folder) == {STRANGER}


def test_an_entry_that_is_kept_keeps_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    fill(folder, *OWN)
    erase(folder, keep="lock")
    assert names_in(folder) == {"lock"}


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    fill(victim, STRANGER)
    folder = tmp_path / "work"
    fill(folder)
    (folder / "frames").symlink_to(victim)
    erase(folder)
    assert not folder.exists()
    assert names_in(victim) == {STRANGER}


def test_the_mark_of_an_output_in_place_goes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal that is cut short leaves no work that nobody can go on with."""
    folder = tmp_path / "work"
    fill(folder, *OWN)
    removals = []
    unlink = Path.unlink

    def record(path: Path, missing_ok: bool = False) -> None:
        removals.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", record)
    erase(folder)
    assert set(removals) == set(OWN)
    assert removals[-1] == LAST


def test_a_file_is_ours_if_nobody_else_can_write_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o600)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert is_own_file(file)
    assert not is_own_file(link)
    assert not is_own_file(tmp_path)
    assert not is_own_file(tmp_path / "absent")
    # a group and everybody
    for mode in (0o620, 0o602):
        file.chmod(mode)
        assert not is_own_file(file)
