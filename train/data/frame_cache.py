"""Decoded frames kept in memory, oldest use dropped first; shared by the loader threads
of one process.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.datasets.media import decode_frame
from train.datasets.records import Shot, from_example


class FrameCache:
    """Shots of a prepared dataset with decoded frames cached up to `limit_mb`. Caching
    changes speed only.
    """

    def __init__(self, path: str, split: str, limit_mb: int):
        self._source = open_source(path, split)
        self._limit = limit_mb * 2**20
        self._size = 0
        self._frames: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._shots: OrderedDict[int, Shot] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def shot(self, index: int) -> Shot:
        """The encoded shot; the last 64 stay in memory."""
        with self._lock:
            if index in self._shots:
                self._shots.move_to_end(index)
                return self._shots[index]
        # read outside the lock, so that threads read different shots at once
        example = self._source[index]
        shot = from_example(example)
        with self._lock:
            self._shots[index] = shot
            while len(self._shots) > 64:
                self._shots.popitem(last=False)
        return shot

    def frame(self, shot_index: int, frame_index: int) -> np.ndarray:
        """uint8[h,w,3], read only."""
        key = (shot_index, frame_index)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
        # decoded outside the lock; two threads may decode one frame, which is harmless
        shot = self.shot(shot_index)
        frame = decode_frame(shot.frames[frame_index])
        with self._lock:
            if key not in self._frames:
                self._frames[key] = frame
                self._size += frame.nbytes
            while self._size > self._limit and len(self._frames) > 1:
                _, oldest = self._frames.popitem(last=False)
                self._size -= oldest.nbytes
        return frame


def open_source(path: str, split: str) -> Sequence:
    """The random-access source of a prepared dataset. ValueErrors name the missing
    folder or split.
    """
    from pathlib import Path

    # TFDS puts a data set below its name and version
    files = sorted(Path(path).rglob("dataset_info.json"))
    if len(files) != 1:
        count = f"{len(files)} datasets" if files else "no dataset"
        raise ValueError(
            f"data.path={path}: found {count}, expected one; make it: python -m "
            "train.prepare --help"
        )
    (file,) = files
    builder = tfds.builder_from_directory(str(file.parent))
    splits = builder.info.splits
    if split not in splits:
        raise ValueError(
            f"data.split={split}: not in {path}, which has {sorted(splits)}"
        )
    as_data_source: Any = builder.as_data_source
    return as_data_source(split)
