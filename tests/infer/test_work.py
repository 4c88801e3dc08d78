"""The work folder: finished groups survive anything, unfinished ones vanish, other jobs are refused."""

from pathlib import Path

import numpy as np
import pytest

from infer.errors import JobError
from infer.media.segment import Segment
from infer.work import WorkFolder, clear_finished, folder_of

STATE = {"000": np.arange(3.0), "001": np.array([7], np.uint32)}


def commit(work: WorkFolder, number: int) -> None:
    Path(work.part("video")).write_text(f"video {number}")
    work.commit(Segment(work.part("video"), (2 * number, 2 * number + 1), (1, 1), number), STATE)


def test_finished_groups_and_the_state_are_there_again(tmp_path):
    output = str(tmp_path / "out.mp4")
    with pytest.raises(KeyboardInterrupt), WorkFolder(output, {"a": 1}) as work:  # noqa: PT012
        commit(work, 0)
        commit(work, 1)
        Path(work.part("video")).touch()  # a group in progress
        raise KeyboardInterrupt
    with WorkFolder(output, {"a": 1}) as work:
        assert [s.pts for s in work.segments] == [(0, 1), (2, 3)]
        assert [s.delay for s in work.segments] == [0, 1]
        assert Path(work.segments[1].path).read_text() == "video 1"
        assert {k: v.tolist() for k, v in work.state().items()} == {k: v.tolist() for k, v in STATE.items()}
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
    with pytest.raises(KeyboardInterrupt), WorkFolder(output, {"crf": 18, "seed": 0}) as work:  # noqa: PT012
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
    with WorkFolder(output, {}), pytest.raises(JobError, match="another job"), WorkFolder(output, {}):
        pass


def test_a_damaged_state_is_told(tmp_path):
    output = str(tmp_path / "out.mp4")
    with WorkFolder(output, {}) as work:
        commit(work, 0)
        (work.path / "000000.npz").write_bytes(b"PK broken")
        with pytest.raises(JobError, match="--restart"):
            work.state()


def test_the_folder_of_a_job_killed_after_its_end_is_cleared(tmp_path):
    output = tmp_path / "out.mp4"
    with WorkFolder(str(output), {}) as work:
        commit(work, 0)
        work.mark_published()
    clear_finished(str(output))
    assert folder_of(str(output)).exists()  # the output is not there yet
    output.touch()
    clear_finished(str(output))
    assert not folder_of(str(output)).exists()
