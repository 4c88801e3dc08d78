"""The one record layout: a shot = consecutive frames of one scene, each an encoded
image (random access).
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

CUT_THRESHOLD = 30.0
"""Mean absolute change (of 255) of 16x16 thumbnails between frames that ends a shot."""


class Shot(NamedTuple):
    """One record: `frames` are image bytes; a single frame is a photograph and is set
    in motion when loaded.
    """

    name: str
    frames: list[bytes]


def record_features() -> tfds.features.FeaturesDict:
    """TFDS features of a `Shot`; Text holds raw bytes, which TFDS keeps untouched
    without TensorFlow.
    """
    return tfds.features.FeaturesDict(
        {
            "name": tfds.features.Text(),
            "frames": tfds.features.Sequence(tfds.features.Text()),
        }
    )


def to_example(shot: Shot) -> tuple[str, dict[str, Any]]:
    """(key, example) as a TFDS generator yields it."""
    example = {"name": shot.name, "frames": shot.frames}
    return shot.name, example


def from_example(example: dict[str, Any]) -> Shot:
    """Inverse of `to_example`, for the examples of `as_data_source`."""
    name = example["name"].decode()
    frames = list(example["frames"])
    return Shot(name, frames)


def split_shots(
    name: str,
    frames: Iterable[np.ndarray],
    encode: Callable[[np.ndarray], bytes],
    max_frames: int,
) -> Iterator[Shot]:
    """Cut a frame sequence at scene changes and after `max_frames`; shots of one frame
    are dropped.
    """
    shot: list[bytes] = []
    previous = None
    start = 0
    for index, frame in enumerate(frames):
        thumbnail = _thumbnail(frame)
        change = 0.0
        if previous is not None:
            difference = np.abs(thumbnail - previous)
            change = difference.mean()
        is_full = len(shot) == max_frames
        if change > CUT_THRESHOLD or is_full:
            if len(shot) > 1:
                yield _numbered(name, start, shot)
            shot = []
            start = index
        # encoded at once: the decoded frames of a long scene would fill the memory
        data = encode(frame)
        shot.append(data)
        previous = thumbnail
    if len(shot) > 1:
        yield _numbered(name, start, shot)


def _numbered(name: str, start: int, frames: list[bytes]) -> Shot:
    """The shot of a file that begins at that frame."""
    return Shot(f"{name}:{start:06d}", frames)


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    small = image.resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def split_files(items: list[Any], validation: float) -> dict[str, list[Any]]:
    """Every k-th item to validation, k = 1/fraction; at least one stays in each split
    when both are wanted.
    """
    if not validation or len(items) < 2:
        return {"train": items}
    # a smaller share has no finite inverse
    inverse = 1 / max(validation, 1e-9)
    stride = max(2, round(inverse))
    first = stride // 2
    held_out = items[first::stride] or items[-1:]
    others = [item for item in items if item not in held_out]
    return {"train": others, "validation": held_out}


def frame_folder_shots(name: str, files: list[Path], max_frames: int) -> Iterator[Shot]:
    """Shots of already separate frame files, bytes untouched and uncut (REDS,
    Vimeo-90K: one scene per folder).
    """
    for start in range(0, len(files), max_frames):
        end = start + max_frames
        part = files[start:end]
        if len(part) > 1:
            frames = [file.read_bytes() for file in part]
            yield _numbered(name, start, frames)
