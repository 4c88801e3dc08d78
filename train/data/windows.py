"""The frames and the shot of window number i, a pure function of (seed, index)."""

from typing import NamedTuple

import numpy as np

GROUP = 16
"""Shots drawn from together, so that their decoded frames stay in the cache."""


class Draw(NamedTuple):
    """One window to load: a shot, and the random generator everything else about the
    window comes from.
    """

    shot: int
    rng: np.random.Generator


def draw(index: int, num_shots: int, visits: int, seed: int) -> Draw:
    """Window `index` of the endless stream: shots are permuted per epoch, then mixed
    within groups of GROUP.

    Each epoch visits every shot exactly ``visits`` times.
    """
    epoch, place = divmod(index, num_shots * visits)
    group, offset = divmod(place, GROUP * visits)
    # one generator for each purpose: 1 the shots of an epoch, 2 the order within a
    # group, 3 the window itself
    epoch_rng = np.random.default_rng([seed, 1, epoch])
    order = epoch_rng.permutation(num_shots)
    first = group * GROUP
    last = first + GROUP
    # the last group of an epoch may be smaller
    members = order[first:last]
    count = len(members)
    group_rng = np.random.default_rng([seed, 2, epoch, group])
    mixed = group_rng.permutation(count * visits)
    member = mixed[offset] % count
    shot = members[member]
    window_rng = np.random.default_rng([seed, 3, index])
    return Draw(int(shot), window_rng)


def window_indices(
    num_frames: int,
    length: int,
    rng: np.random.Generator,
    reverse: float = 0.5,
    max_start: int | None = None,
) -> np.ndarray:
    """`length` consecutive frame numbers of a shot, int[length]; a shot too short is
    mirrored (0 1 2 1 0 ...).

    The start is uniform. (The released REDS loader takes the item's own number, or a
    uniform one where the window would not fit: summed over items that is uniform too.)
    """
    last = max(num_frames - length, 0)
    if max_start is not None:
        last = min(last, max_start)
    start = int(rng.integers(0, last + 1))
    # there and back, both ends once; a single frame stands still
    period = max(2 * num_frames - 2, 1)
    times = np.arange(start, start + length)
    frames = times % period
    is_way_back = frames >= num_frames
    frames = np.where(is_way_back, period - frames, frames)
    is_reversed = rng.random() < reverse
    return frames[::-1] if is_reversed else frames


def crop_origin(
    size: tuple[int, int], crop: int, scale: int, rng: np.random.Generator
) -> tuple[int, int]:
    """(top, left) in HR pixels, multiples of `scale`, of a uniform crop of `crop` LR
    pixels.
    """
    height, width = size
    lr_height = height // scale
    lr_width = width // scale
    last_row = lr_height - crop
    last_column = lr_width - crop
    if min(last_row, last_column) < 0:
        raise ValueError(
            f"frames of {width}x{height} HR pixels are smaller than the crop of "
            f"{crop * scale}: use less"
        )
    row = int(rng.integers(0, last_row + 1))
    column = int(rng.integers(0, last_column + 1))
    return row * scale, column * scale
