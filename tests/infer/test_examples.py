"""The examples run as they are printed, here with a small model."""

import asyncio
import runpy

import av
import pytest
from clips import ROOT
from streams import numbers_in, record


@pytest.fixture
def example(tmp_path):
    """Call ``main`` of an example with a short clip."""
    source = str(tmp_path / "in.mp4")
    clip = record(source, 5)

    def call(name: str, *arguments: str):
        return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](
            clip, *arguments
        )

    return call


def test_frames_and_side_by_side(example, tmp_path, tiny_model):
    output = str(tmp_path / "out.mp4")
    example("frames", output, tiny_model)
    assert [number for number, _ in numbers_in(output)] == list(range(5))
    pair = str(tmp_path / "pair.png")
    example("side_by_side", output, pair, "3")
    with av.open(pair) as picture:
        # Three panels of 77 pixels, three tenths of 256.
        assert next(picture.decode(video=0)).width == 3 * 77


def test_three_viewers_share_two_places(example, tiny_model, capsys):
    asyncio.run(example("asynchronous", tiny_model))
    # In any order: they run at the same time.
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "viewer 0: 2 frames of 256x192",
        "viewer 1: 4 frames of 256x192",
        "viewer 2: 3 frames of 256x192",
    ]


def test_pure(example, tiny_model, capsys):
    example("pure", tiny_model)
    words = capsys.readouterr().out.split()
    assert words[:4] == ["4", "frames", "of", "256x192,"]
    # Rounding of float32 in two programs of one model, on values up to 1.
    assert float(words[-2]) < 1e-4
