"""Vimeo-90K septuplets (Xue et al., IJCV 2019): 64,612 windows of 7 frames 448x256. The
user supplies the files.
"""

from collections.abc import Iterator
from pathlib import Path

from train.datasets.builder import ShotBuilder
from train.datasets.records import Shot, frame_folder_shots


class Vimeo90k(ShotBuilder, skip_registration=True):
    """`source` holds sep_trainlist.txt, sep_testlist.txt and
    sequences/00001/0001/im1.png ... im7.png.
    """

    expected = "sep_trainlist.txt beside sequences/: give the vimeo_septuplet folder"

    def list_items(self) -> list[Path]:
        return self._listed("sep_trainlist.txt")

    def _listed(self, list_name: str) -> list[Path]:
        path = self.source / list_name
        if not path.is_file():
            return []
        sequences = self.source / "sequences"
        return [sequences / line for line in path.read_text().split()]

    def split_items(self) -> dict[str, list[Path]]:
        splits = {"train": self.items}
        # of a part of the data set there may be none, and an empty split is refused
        test = self._listed("sep_testlist.txt")
        if test:
            splits["validation"] = test
        return splits

    def read_item(self, item: Path) -> Iterator[Shot]:
        sequences = self.source / "sequences"
        name = item.relative_to(sequences)
        files = [item / f"im{number}.png" for number in range(1, 8)]
        yield from frame_folder_shots(str(name), files, 7)
