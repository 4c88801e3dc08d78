"""Any folder of clips and photographs, searched recursively."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from train.datasets.builder import ShotBuilder
from train.datasets.media import (
    PHOTO_SUFFIXES,
    VIDEO_SUFFIXES,
    decode_frame,
    encode_frame,
    read_photo,
    read_video,
    shrink_frame,
)
from train.datasets.records import Shot, split_shots


class VideoFolder(ShotBuilder, skip_registration=True):
    """Clips become shots (cut at scene changes, reduced by `shrink`); photographs are
    moved when loaded.
    """

    expected = (
        f"clips or photographs (suffixes {sorted(VIDEO_SUFFIXES | PHOTO_SUFFIXES)})"
    )

    def __init__(
        self,
        *,
        shrink: float = 2.0,
        trim: float = 0.0,
        max_frames: int = 32,
        min_side: int = 160,
        lossless: bool = False,
        **kwargs,
    ):
        self.shrink = shrink
        self.trim = trim
        self.max_frames = max_frames
        self.min_side = min_side
        self.lossless = lossless
        super().__init__(**kwargs)

    def list_items(self) -> list[Path]:
        suffixes = VIDEO_SUFFIXES | PHOTO_SUFFIXES
        files = []
        for path in self.source.rglob("*"):
            is_known = path.suffix.lower() in suffixes
            if is_known and path.is_file():
                files.append(path)
        # file systems list in any order
        return sorted(files)

    def read_item(self, item: Path) -> Iterator[Shot]:
        name = self.item_name(item)
        if item.suffix.lower() in PHOTO_SUFFIXES:
            data = read_photo(item)
            self._check_size(decode_frame(data))
            yield Shot(name, [data])
            return
        count = 0
        encode = functools.partial(encode_frame, lossless=self.lossless)
        for shot in split_shots(name, self._frames(item), encode, self.max_frames):
            count += 1
            yield shot
        if not count:
            raise ValueError("no two consecutive frames of one scene")

    def _frames(self, path: Path) -> Iterator[np.ndarray]:
        for frame in read_video(path):
            # a clip's own compression must not become ground truth
            small = shrink_frame(frame, self.shrink, self.trim)
            self._check_size(small)
            yield small

    def _check_size(self, frame: np.ndarray) -> None:
        height, width = frame.shape[:2]
        if min(height, width) < self.min_side:
            raise ValueError(
                f"{width}x{height} after shrinking, expected at least {self.min_side} "
                "a side"
            )
