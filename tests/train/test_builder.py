"""A builder of a dataset keeps what is good of a bad file and refuses an empty one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from train.datasets.builder import ShotBuilder
from train.datasets.records import Shot


class Lengths(ShotBuilder, skip_registration=True):
    """Every item is two shots of as many frames as it says; a negative number is bad
    behind the first one.
    """

    lengths: tuple[int, ...] = ()

    def list_items(self) -> list[int]:
        return list(self.lengths)

    def item_name(self, item: int) -> str:
        return f"item {item}"

    def read_item(self, item: int) -> Iterator[Shot]:
        frames = [b"frame"] * abs(item)
        yield Shot(f"{item}:0", frames)
        if item < 0:
            raise OSError("the end is missing")
        yield Shot(f"{item}:1", frames)


class Bad(Lengths, skip_registration=True):
    """No item can be read at all."""

    lengths = (5, 6)

    def read_item(self, item: int) -> Iterator[Shot]:
        raise ValueError("no frames")


class Mixed(Lengths, skip_registration=True):
    lengths = (2, -3, 4)


def test_shots_before_a_fault_are_kept_and_the_fault_is_listed(tmp_path: Path) -> None:
    items = []
    builder = Mixed(source=tmp_path, data_dir=tmp_path, on_item=items.append)
    examples = list(builder._generate_examples("train", builder.items))
    keys = [key for key, _ in examples]
    assert keys == ["2:0", "2:1", "-3:0", "4:0", "4:1"]
    # only whole items count as items
    assert builder.counts["train"] == {"items": 2, "shots": 5, "frames": 15}
    assert builder.skipped == [("item -3", "OSError: the end is missing")]
    # progress is told of bad ones as well
    assert items == ["item 2", "item -3", "item 4"]


def test_a_split_without_a_shot_is_an_error_that_says_why(tmp_path: Path) -> None:
    builder = Bad(source=tmp_path, data_dir=tmp_path)
    words = r"nothing usable for split 'train' among 2 items.*ValueError: no frames"
    with pytest.raises(ValueError, match=words):
        list(builder._generate_examples("train", builder.items))


def test_a_source_without_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no readable files"):
        Lengths(source=tmp_path, data_dir=tmp_path)
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match="is not a folder"):
        Mixed(source=missing, data_dir=tmp_path)
