"""A work folder that somebody else can have made is refused, and nothing in it is
followed out of it.
"""

import os
from pathlib import Path

import pytest
from clips import make_video, stopped_before
from test_work import commit

from infer.errors import JobError
from infer.jobs.work_folder import WorkFolder, folder_of

PRECIOUS = b"precious"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's with something like a job's file in it."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("000000.mkv", "video.unfinished", "lock", "0.png"):
        (folder / name).write_bytes(PRECIOUS)
    return folder


def is_untouched(folder: Path) -> bool:
    contents = [path.read_bytes() for path in folder.iterdir()]
    return contents == [PRECIOUS] * 4


def refusal_of(output: Path, restart: bool = False) -> str:
    with (
        pytest.raises(JobError) as refusal,
        WorkFolder(str(output), {"a": 1}, restart),
    ):
        pass
    return str(refusal.value)


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_that_is_a_link(tmp_path, victim, restart):
    output = tmp_path / "out.mp4"
    folder_of(str(output)).symlink_to(victim)
    assert "is a symbolic link, expected a work folder" in refusal_of(output, restart)
    assert is_untouched(victim)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "name", ["lock", "video.unfinished", "000000.mkv", "job.json", "frames", "parts/a"]
)
def test_a_link_in_the_folder(tmp_path, victim, name, restart):
    output = tmp_path / "out.mp4"
    link = folder_of(str(output)) / name
    link.parent.mkdir(mode=0o700, parents=True)
    link.symlink_to(victim if name == "frames" else victim / "lock")
    stderr = refusal_of(output, restart)
    assert f"{link}: is a symbolic link, which no job makes" in stderr
    assert is_untouched(victim)
    assert link.is_symlink()


def test_a_lock_that_is_a_hard_link_is_not_cut(tmp_path, victim):
    output = tmp_path / "out.mp4"
    folder = folder_of(str(output))
    folder.mkdir(mode=0o700)
    # Opened for writing it would be emptied, and the victim's file with it.
    os.link(victim / "lock", folder / "lock")
    with WorkFolder(str(output), {}):
        pass
    assert is_untouched(victim)


# The group, everybody, both.
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_in_which_others_can_write(tmp_path, mode):
    output = tmp_path / "out.mp4"
    folder_of(str(output)).mkdir()
    folder_of(str(output)).chmod(mode)
    assert f"others can write there (mode {mode:o})" in refusal_of(output)


def test_a_folder_of_another_user(tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    folder_of(str(output)).mkdir(mode=0o700)
    # Only root may give a folder away, so it is the user who changes.
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    assert "belongs to another user" in refusal_of(output)


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_with_somebody_s_files_is_no_work_folder(tmp_path, restart):
    output = tmp_path / "out.mp4"
    folder = folder_of(str(output))
    folder.mkdir(mode=0o700)
    thesis = folder / "thesis.tex"
    thesis.write_bytes(PRECIOUS)
    assert "thesis.tex: was not made by a job" in refusal_of(output, restart)
    assert thesis.read_bytes() == PRECIOUS


def test_what_is_put_there_during_a_job_survives_its_end(tmp_path):
    output = tmp_path / "out.mp4"
    with WorkFolder(str(output), {}) as work:
        commit(work, 0)
        (work.path / "thesis.tex").write_bytes(PRECIOUS)
        work.remove()
    assert os.listdir(folder_of(str(output))) == ["thesis.tex"]


def test_a_job_is_refused_in_one_line_and_private_from_its_start(
    upscale, tmp_path, victim
):
    source = make_video(str(tmp_path / "in.mp4"), range(4), (16, 16))
    output = tmp_path / "out.mkv"
    words = "--video", source, "-o", output, "--segment", 2
    with stopped_before("000001.json"):
        status, stderr = upscale(*words)
        assert status == 130, stderr
    folder = folder_of(str(output))
    # Whatever the umask: nobody may put anything there later.
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "video.unfinished").symlink_to(victim / "lock")
    status, stderr = upscale(*words)
    assert status == 1
    errors = [line for line in stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "remove it or choose another --output" in errors[0]
    assert is_untouched(victim)
