"""The work folder: finished groups survive anything, unfinished ones vanish, other jobs
are refused.
"""

import fcntl
import random
import shutil
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from clips import make_video, stopped_before

from infer.__main__ import main
from infer.errors import JobError
from infer.jobs.work_folder import WorkFolder, folder_of
from infer.sinks.segments import Segment

# Two leaves of different types, as the state of a stream has them.
STATE = {"000": np.arange(3.0), "001": np.array([7], np.uint32)}


def commit(work: WorkFolder, number: int) -> None:
    Path(work.part("video")).write_text(f"video {number}")
    work.commit(
        Segment(work.part("video"), (2 * number, 2 * number + 1), (1, 1), number), STATE
    )


def test_finished_groups_and_the_state_are_there_again(tmp_path):
    output = str(tmp_path / "out.mp4")
    with pytest.raises(KeyboardInterrupt), WorkFolder(output, {"a": 1}) as work:  # noqa: PT012
        commit(work, 0)
        commit(work, 1)
        Path(work.part("video")).touch()  # a group in progress
        raise KeyboardInterrupt
    with WorkFolder(output, {"a": 1}) as work:
        pts = [s.pts for s in work.segments]
        assert pts == [(0, 1), (2, 3)]
        delays = [s.delay for s in work.segments]
        assert delays == [0, 1]
        assert Path(work.segments[1].path).read_text() == "video 1"
        assert {k: v.tolist() for k, v in work.state().items()} == {
            k: v.tolist() for k, v in STATE.items()
        }
        assert not list(work.path.glob("*.unfinished"))
        assert len(list(work.path.glob("*.npz"))) == 1  # only the last state is needed


def test_a_group_without_its_record_does_not_count(tmp_path):
    output = str(tmp_path / "out.mp4")
    with pytest.raises(KeyboardInterrupt), WorkFolder(output, {}) as work:  # noqa: PT012
        commit(work, 0)
        for name in ("000001.mkv", "000001.npz"):
            (work.path / name).write_bytes(b"half")
        raise KeyboardInterrupt
    with WorkFolder(output, {}) as work:
        assert work.num_frames == 2
        names = sorted(p.name for p in work.path.iterdir())
        assert names == ["000000.json", "000000.mkv", "000000.npz", "job.json", "lock"]


def test_another_job_is_refused_by_what_changed_and_restart_clears(tmp_path):
    output = str(tmp_path / "out.mp4")
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        WorkFolder(output, {"crf": 18, "seed": 0}) as work,
    ):
        commit(work, 0)
        raise KeyboardInterrupt
    with (
        pytest.raises(ValueError, match=r"crf was 18, is 20.*--restart"),
        WorkFolder(output, {"crf": 20, "seed": 0}),
    ):
        pass
    with WorkFolder(output, {"crf": 20, "seed": 0}, restart=True) as work:
        assert work.segments == []


def test_nothing_is_left_when_nothing_was_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt), WorkFolder(str(tmp_path / "out.mp4"), {}):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_two_jobs_never_share_an_output(tmp_path):
    output = str(tmp_path / "out.mp4")
    with (
        WorkFolder(output, {}),
        pytest.raises(JobError, match="another job"),
        WorkFolder(output, {}),
    ):
        pass


def test_unfinished_work_without_a_finished_group_binds_nobody(tmp_path):
    output = str(tmp_path / "out.mp4")
    folder_of(output).mkdir()
    for remains in ('{"crf": 18', ""):
        (folder_of(output) / "job.json").write_text(remains)
        with WorkFolder(output, {"crf": 20}) as work:
            assert work.segments == []


FILES = (
    "000000.json",
    "000001.json",
    "000000.mkv",
    "000001.mkv",
    "000001.npz",
    "job.json",
)


@pytest.mark.parametrize("name", FILES)
def test_a_work_folder_with_any_byte_changed_cut_or_gone_is_refused(tmp_path, name):
    output = str(tmp_path / "out.mp4")
    rng = random.Random(name)
    with pytest.raises(KeyboardInterrupt), WorkFolder(output, {"a": 1}) as work:  # noqa: PT012
        commit(work, 0)
        commit(work, 1)
        raise KeyboardInterrupt
    path = work.path / name
    good = path.read_bytes()

    def flipped() -> bytes:
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)

    for bad in [
        # Forty of some hundred bytes, from a seed that is the name of the file.
        *(flipped() for _ in range(40)),
        good[:-2],
        good[: len(good) // 2],
        b"",
        None,
        b"[]",
        b"{}\n\xff",
    ]:
        path.unlink() if bad is None else path.write_bytes(bad)
        if name == "000001.json" and bad is None:
            # then the second group does not count, and its state is not there to go on
            # from the first
            break
        with (
            pytest.raises(JobError, match=f"{name}: missing or damaged.*--restart"),
            WorkFolder(output, {"a": 1}),
        ):
            pass
    path.write_bytes(good)
    with WorkFolder(output, {"a": 1}) as work:
        assert work.num_frames == 4
        work.state()
        path.write_bytes(flipped())
        if name[0] == "0" and not name.endswith("json"):
            with pytest.raises(JobError, match=name):
                work.verify()


@pytest.mark.parametrize("output", ["out.mkv", "frames"])
def test_a_bit_flipped_between_two_runs_never_reaches_an_output(
    tmp_path, tiny_model, capsys, output
):
    source = make_video(str(tmp_path / "in.mp4"), range(5), (16, 16))
    words = [
        "--video",
        source,
        "-o",
        str(tmp_path / output),
        "--segment",
        "2",
        "--model",
        tiny_model,
    ]
    with stopped_before("000001.json"):
        status = main(words)
        assert status == 130
    parts = folder_of(str(tmp_path / output))
    target = min([*parts.glob("*.mkv"), *parts.glob("frames/*.png")])
    data = bytearray(target.read_bytes())
    data[-9] ^= 1
    target.write_bytes(data)
    capsys.readouterr()
    status = main(words)
    assert status == 1
    errors = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("error")
    ]
    assert len(errors) == 1
    assert "missing or damaged; give the same command with --restart" in errors[0]
    assert not (tmp_path / output).exists()
    status = main([*words, "--restart"])
    assert status == 0
    assert (tmp_path / output).exists()
    assert not parts.exists()


@pytest.mark.parametrize("moment", ["open", "lock"])
def test_a_job_that_begins_while_another_fails_gets_a_folder_of_its_own(
    tmp_path, monkeypatch, moment
):
    """The failing one removes the folder, just before the new one opens the lock in it,
    or locks it.
    """
    output = str(tmp_path / "out.mp4")
    real = fcntl.flock
    calls = []
    make = Path.mkdir

    def remove(when: str) -> None:
        if when == moment and not calls:
            calls.append(when)
            shutil.rmtree(folder_of(output))

    def flock(lock: IO[str], how: int) -> None:
        remove("lock")
        real(lock, how)

    def mkdir(path: Path, **options: bool) -> None:
        make(path, **options)
        remove("open")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    with WorkFolder(output, {}) as work:
        assert (work.path / "lock").exists()
        with pytest.raises(JobError, match="another job"), WorkFolder(output, {}):
            pass
    assert calls == [moment]


def test_an_output_that_came_into_being_meanwhile_is_not_replaced(
    tmp_path, tiny_model, capsys, monkeypatch
):
    source = make_video(str(tmp_path / "in.mp4"), range(2), (16, 16))
    output = tmp_path / "o.mkv"
    words = ["--video", source, "-o", str(output), "--model", tiny_model]
    real = WorkFolder.commit

    def commit(work: WorkFolder, *given: object) -> None:
        output.write_text("precious")
        real(work, *given)

    monkeypatch.setattr(WorkFolder, "commit", commit)
    status = main(words)
    assert status == 2
    assert "already exists; give --overwrite" in capsys.readouterr().err
    assert output.read_text() == "precious"
    output.unlink()
    status = main(words)
    assert status == 0
    assert "going on after 2" in capsys.readouterr().err
