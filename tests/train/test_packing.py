"""What a packed file holds of its shots."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import DataConfig
from train import prepare
from train.data.pipeline import Windows, detail

SIDE = 64
WINDOWS = DataConfig(
    frames=2, crop=SIDE // 4, flip=0.0, reverse=0.0, degradation="bicubic"
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 20 photographs of one colour each, smooth but for one corner."""
    source = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(20):
        picture = np.full((200, 200, 3), 10 * number + 20, np.uint8)
        picture[:60, :60] += rng.integers(0, 40, (60, 60, 3), np.uint8)
        Image.fromarray(picture).save(source / f"{number}.png")
    out = tmp_path_factory.mktemp("dataset")
    built = prepare.main([str(source), "--out", str(out), "--validation", "0"])
    assert built == 0
    return out


@pytest.mark.parametrize("count", [7, 20, 50])
def test_a_packed_file_holds_as_many_shots_as_it_can(
    photographs: Path, tmp_path: Path, count: int
) -> None:
    path = tmp_path / "p.npy"
    sizes = ["--windows", str(count), "--frames", "1", "--size", str(SIDE)]
    packed = prepare.main(["--out", str(photographs), "--pack", str(path), *sizes])
    assert packed == 0
    # a photograph is told by its colour, of which its corner is a small part
    colours = np.median(np.load(path), axis=(1, 2, 3, 4))
    # JPEG and the corner move the colour by less than half of the distance of two
    numbers = np.rint((colours - 20) / 10).astype(int)
    assert len(set(numbers)) == min(count, 20)


def test_the_candidate_with_most_detail_is_taken(photographs: Path) -> None:
    data = dataclasses.replace(WINDOWS, path=str(photographs))
    one_of_six = dataclasses.replace(data, candidates=6)
    single = Windows(data, 0, 0, 1)
    chosen = Windows(one_of_six, 0, 0, 1)
    numbers = range(12)
    before = np.array([detail(single[number]["hr"]) for number in numbers])
    after = np.array([detail(chosen[number]["hr"]) for number in numbers])
    # the first candidate is the window that is taken without a choice
    assert (after >= before).all()
    assert (after > before).any()
