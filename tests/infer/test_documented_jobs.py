"""The jobs of the README run as they are printed, with a small model."""

from pathlib import Path

import pytest
from clips import make_video
from PIL import Image

from tests import documents

OTHER_PLACES = ("://", "Jamichsu/", " - ", "--workers")
"""Networks, other people's weights, pipes, workers: those have tests of their own."""


def readme_jobs() -> list[tuple[str, ...]]:
    lines = [
        command for command in documents.commands() if command.document == "README.md"
    ]
    jobs = [
        command.words[1:]
        for command in lines
        if command.words[:2] == ("sdvsr", "--video")
    ]
    return [
        words
        for words in jobs
        if not any(place in " ".join((*words, "")) for place in OTHER_PLACES)
    ]


@pytest.mark.parametrize("words", readme_jobs(), ids=" ".join)
def test_a_job_of_the_readme_ends_well(
    words: tuple[str, ...], upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video("in.mp4", range(3), (64, 48))
    # The folder of pictures that the README names.
    (tmp_path / "frames").mkdir()
    for number in range(2):
        Image.new("RGB", (32, 24), (number, 90, 40)).save(f"frames/{number}.png")
    status, output = upscale(*words)
    assert status == 0, output
