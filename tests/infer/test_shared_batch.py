"""Several videos by several workers: each has the bytes of its own job, one bad file
stops no other, and finished ones are not done again.
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
    crews: list[Crew] = []

    @contextmanager
    def crew(options):
        # two deaths in a batch, and another order each time
        hands = Crew(options.workers, seed=len(crews), deaths=2)
        crews.append(hands)
        yield hands
        hands.close()

    monkeypatch.setattr(film, "crew", crew)
    return crews


@pytest.fixture
def folder(tmp_path):
    """Three videos, and one that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    # the last one is the longest
    for number, lengths in enumerate(([4, 3], [9], [3, 5, 2, 4])):
        frames = scenes(*lengths)
        clip_of(folder / f"{number}.mkv", frames)
    bad = folder / "bad.mkv"
    bad.write_bytes(b"not a video at all" * 99)
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
    status, _ = upscale(*words, "-o", lone, model=cutting_model)
    assert status == 1
    words = (*words, "-o", shared, "--workers", 2)
    status, report = upscale(*words, "--report", results, model=cutting_model)
    assert status == 1
    assert "4 inputs: 3 done, 0 skipped, 1 failed" in report
    # the longest first, so that no worker is left with it at the end
    longest = report.index(f"begin    {folder / '2.mkv'}")
    assert longest < report.index("0.mkv\n")
    for path in sorted(lone.iterdir()):
        assert (shared / path.name).read_bytes() == path.read_bytes()
    reports = json.loads(results.read_text("utf-8"))
    expected = [False] * 3 + [True]
    assert [("error" in entry) for entry in reports] == expected
    status, report = upscale(*words, model=cutting_model)
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
        # After it was planned and loaded, and before its frames are read.
        if job.plan.info.path.endswith("1.mkv") and call.kind == "upscale":
            clip_of(folder / "1.mkv", scenes(2, 2))

    monkeypatch.setattr(film.Job, "give", give)
    words = ("--video", folder, "-o", place, "--segment", 2, "--workers", 3)
    status, report = upscale(*words, model=cutting_model)
    assert status == 1, report
    assert "3 inputs: 2 done, 0 skipped, 1 failed" in report
    assert len(list(place.glob("*.mkv"))) == 2
