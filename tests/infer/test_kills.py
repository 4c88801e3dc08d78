"""A job that is stopped at its very end is ended by the same command, report and all;
and an input that changes meanwhile is noticed.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import make_video

from infer.jobs import file_job
from infer.jobs.work_folder import folder_of

# The size of most tests: another one is another compilation.
SIZE = (16, 16)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it, and nothing after it runs."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ends the program before its n-th rename, unlink or rmdir after the publication
    has begun; raises nothing if there are fewer.
    """

    def arm(number: int) -> None:
        state = {"begun": False, "count": 0, "dead": False}

        def guard(name: str) -> None:
            real = getattr(os, name)

            def call(*words: object, **options: object) -> object:
                if state["dead"]:
                    # What a context manager does after the kill does not happen.
                    raise Killed
                if state["begun"]:
                    state["count"] += 1
                    if state["count"] == number:
                        state["dead"] = True
                        raise Killed
                result = real(*words, **options)
                last = str(words[-1])
                # The rename to `published` is the moment at which the job is over for
                # good.
                state["begun"] = state["begun"] or last.endswith("published")
                return result

            monkeypatch.setattr(os, name, call)

        for name in ("replace", "unlink", "rmdir"):
            guard(name)

    return arm


@pytest.mark.parametrize("kind", ["o.mkv", "frames", "empty folder"])
def test_killed_anywhere_at_the_end_and_given_again(
    upscale, tmp_path, monkeypatch, killed_at, kind
):
    source = make_video(str(tmp_path / "in.mp4"), range(4), SIZE)
    complete = tmp_path / f"whole_{kind}"
    words = "--video", source, "--segment", 2, "-o"
    status, stderr = upscale(*words, complete)
    assert status == 0, stderr
    number = 1
    num_kills = 0
    while True:
        place = tmp_path / str(number)
        place.mkdir()
        output = place / kind
        report = place / "r.json"
        if kind == "empty folder":
            output.mkdir()
        killed_at(number)
        try:
            status, stderr = upscale(*words, output, "--report", report)
            was_killed = False
            assert status == 0, stderr
        except Killed:
            was_killed = True
        finally:
            monkeypatch.undo()
        if not was_killed:
            break
        num_kills += 1
        is_over = not (folder_of(str(output)) / "published").exists()
        if not is_over:
            status, stderr = upscale(*words, output, "--report", report)
            assert status == 0, (number, stderr)
        assert content_of(output) == content_of(complete), number
        assert json.loads(report.read_text())["frames"] == 4
        number += 1
    # The output, its report and the parts of the work folder are more operations.
    assert num_kills > 5


def content_of(path: Path) -> list[bytes]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize("output", ["o.mkv", "frames"])
def test_an_input_replaced_during_a_run_is_noticed(
    upscale, tmp_path, monkeypatch, output
):
    source = Path(make_video(str(tmp_path / "in.mp4"), range(4), SIZE))
    other = make_video(str(tmp_path / "other.mp4"), range(4), SIZE, audio="aac")
    real = file_job.run

    def run(*words: object) -> int:
        count = real(*words)
        os.replace(other, source)
        return count

    monkeypatch.setattr(file_job, "run", run)
    words = "--video", source, "-o", tmp_path / output
    status, stderr = upscale(*words)
    assert status == 1
    assert "in.mp4: was changed while it was read; nothing was written" in stderr
    assert not (tmp_path / output).exists()
    monkeypatch.undo()
    # the work is that of another input
    status, stderr = upscale(*words)
    assert status == 2, stderr
    status, stderr = upscale(*words, "--restart")
    assert status == 0, stderr
