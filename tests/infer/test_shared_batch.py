"""Several videos by several workers: each has the bytes of its own job, one bad file
stops no other, and what is finished is not done again.
"""

import json
from contextlib import contextmanager

import pytest
from clips import clip_of, scenes
from crews import Crew

from infer.cluster import film


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> list[Crew]:
    """Crews that the commands of a test have used, newest last."""
    used: list[Crew] = []

    @contextmanager
    def crew(options):
        used.append(Crew(options.workers, seed=len(used), deaths=2))
        yield used[-1]
        used[-1].close()

    monkeypatch.setattr(film, "crew", crew)
    return used


@pytest.fixture
def folder(tmp_path):
    """Three videos, and one that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, lengths in enumerate(([4, 3], [9], [3, 5, 2, 4])):
        clip_of(folder / f"{number}.mkv", scenes(*lengths))
    (folder / "bad.mkv").write_bytes(b"not a video at all" * 99)
    return folder


def test_a_folder_is_done_but_for_its_bad_file(
    folder, crews, upscale, tmp_path, cutting_model
):
    lone = tmp_path / "alone"
    shared = tmp_path / "shared"
    for place in (lone, shared):
        place.mkdir()
    results = tmp_path / "r.json"
    words = ("--video", folder, "--segment", 2)
    single = upscale(*words, "-o", lone, model=cutting_model)
    status, report = upscale(
        *(*words, "-o", shared, "--workers", 2, "--report", results),
        model=cutting_model,
    )
    assert single[0] == 1
    assert status == 1
    assert "4 inputs: 3 done, 0 skipped, 1 failed" in report
    assert report.index("begin    " + str(folder / "2.mkv")) < report.index("0.mkv\n")
    for path in sorted(lone.iterdir()):
        assert (shared / path.name).read_bytes() == path.read_bytes()
    reports = json.loads(results.read_text("utf-8"))
    expected = [False] * 3 + [True]
    assert [("error" in entry) for entry in reports] == expected
    status, report = upscale(*words, "-o", shared, "--workers", 2, model=cutting_model)
    assert status == 1
    assert "4 inputs: 0 done, 3 skipped, 1 failed" in report
    assert len(crews) == 1


def test_a_video_that_changes_meanwhile_fails_alone(
    folder, crews, upscale, tmp_path, cutting_model, monkeypatch
):
    (folder / "bad.mkv").unlink()
    place = tmp_path / "out"
    place.mkdir()
    begin = film.Job.give

    def give(job, crew, hand, call):
        begin(job, crew, hand, call)
        if job.plan.info.path.endswith("1.mkv") and call.kind == "upscale":
            clip_of(folder / "1.mkv", scenes(2, 2))

    monkeypatch.setattr(film.Job, "give", give)
    words = ("--video", folder, "-o", place, "--segment", 2, "--workers", 3)
    status, report = upscale(*words, model=cutting_model)
    assert status == 1, report
    assert "3 inputs: 2 done, 0 skipped, 1 failed" in report
    assert len(list(place.glob("*.mkv"))) == 2
