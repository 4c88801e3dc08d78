"""REDS (Nah et al., NTIRE 2019): 240 clips of 100 frames 1280x720. The user supplies
the files.
"""

from collections.abc import Iterator
from pathlib import Path

from train.datasets.builder import ShotBuilder
from train.datasets.records import Shot, frame_folder_shots

REDS4 = ("000", "011", "015", "020")
"""The customary test clips; they form the validation split and never enter training."""


class Reds(ShotBuilder, skip_registration=True):
    """`source` holds train_sharp: folders 000 ... 239 with 00000000.png ...; PNG bytes
    are kept as they are.
    """

    expected = (
        "clip folders (000, 001, ...) with PNG frames: give the train_sharp folder"
    )

    def __init__(self, *, max_frames: int = 100, **kwargs):
        self.max_frames = max_frames
        super().__init__(**kwargs)

    def list_items(self) -> list[Path]:
        folders = self.source.iterdir()
        return sorted(filter(_is_clip, folders))

    def split_items(self) -> dict[str, list[Path]]:
        split: dict[str, list[Path]] = {"train": [], "validation": []}
        for item in self.items:
            name = "validation" if item.name in REDS4 else "train"
            split[name].append(item)
        # a part of the data set may lack one kind, and an empty split is refused
        return {name: items for name, items in split.items() if items}

    def read_item(self, item: Path) -> Iterator[Shot]:
        files = sorted(item.glob("*.png"))
        yield from frame_folder_shots(item.name, files, self.max_frames)


def _is_clip(path: Path) -> bool:
    is_numbered = path.name.isdigit()
    pictures = path.glob("*.png")
    return is_numbered and path.is_dir() and any(pictures)
