"""Packed form: one .npy of pre-cropped HR windows, for machines with nothing but jax,
flax, optax and numpy.

Same interface as `train.pipeline.GrainBatches`. LR frames are left to the device
(antialiased bicubic, 8 bit).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import DataConfig
from train.frames import SCALE
from train.windows import crop_origin, window_indices


class Batch(NamedTuple):
    """uint8 windows: `hr` [b,f,H,W,3] and `lr` [b,f,h,w,3] (None: to be reduced on the
    device).
    """

    hr: np.ndarray
    lr: np.ndarray | None = None


def write_packed(
    path: Path, windows: Iterable[np.ndarray], count: int
) -> tuple[int, ...]:
    """Write `count` windows uint8[f,H,W,3] as one uint8[n,f,H,W,3] file; returns its
    shape.
    """
    iterator = iter(windows)
    first = next(iterator)
    shape = (count, *first.shape)
    partial = path.with_suffix(".partial")
    array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    array[0] = first
    for index in range(1, count):
        array[index] = next(iterator)
    array.flush()
    del array
    partial.rename(path)  # a half-written file never carries the final name
    return shape


class PackedBatches:
    """Windows in a fresh order each epoch; random sub-crop, sub-window, flip and
    reversal per (seed, index).

    A run of more frames than were packed sees them there and back: 0 1 2 1 0 ...
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self._array = _open(config)
        if config.batch_size % process_count:
            raise ValueError(
                f"data.batch_size {config.batch_size} is not a multiple of {process_count} processes"
            )
        self._config, self._seed = config, seed
        self._stride, self._offset = process_count, process_index
        self._next = 0
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        size = self._config.batch_size // self._stride
        first = self._next * self._config.batch_size + self._offset
        self._next += 1
        return Batch(
            np.stack([self._window(first + k * self._stride) for k in range(size)])
        )

    def _window(self, index: int) -> np.ndarray:
        epoch, place = divmod(index, len(self._array))
        if self._order[0] != epoch:
            self._order = (
                epoch,
                np.random.default_rng([self._seed, 1, epoch]).permutation(
                    len(self._array)
                ),
            )
        rng = np.random.default_rng([self._seed, 3, index])
        window = self._array[self._order[1][place]]
        frames = window_indices(
            len(window), self._config.frames, rng, self._config.reverse
        )
        crop, side = self._config.crop, SCALE * self._config.crop
        top, left = crop_origin(window.shape[1:3], crop, SCALE, rng)
        window = window[frames, top : top + side, left : left + side]
        if rng.random() < self._config.flip:
            window = window[:, :, ::-1]
        return (
            np.repeat(window[:1], len(window), 0)
            if rng.random() < self._config.static
            else window
        )

    def get_state(self) -> dict[str, Any]:
        """JSON-ready cursor."""
        return {"packed": self._next}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_state` was called."""
        if "packed" not in state:
            raise ValueError(
                "the checkpoint was written with another kind of data source: resume with the same data.path"
            )
        self._next = int(state["packed"])

    def close(self) -> None:
        """Nothing is held open but the file mapping."""


def _open(config: DataConfig) -> np.ndarray:
    path = Path(config.path)
    if not path.is_file():
        raise ValueError(
            f"data.path={path}: no such file; make it: python -m train.prepare --pack {path}"
        )
    array = np.load(path, mmap_mode="r")
    if array.ndim != 5 or array.dtype != np.uint8 or array.shape[-1] != 3:
        raise ValueError(
            f"{path}: found {array.dtype}{list(array.shape)}, expected uint8[n,f,H,W,3] of train.prepare --pack"
        )
    side = SCALE * config.crop
    if min(array.shape[2:4]) < side:
        raise ValueError(
            f"{path}: windows of {array.shape[3]}x{array.shape[2]}, the run needs {side}x{side}: lower data.crop, "
            "or pack larger windows"
        )
    if config.degradation != "bicubic":
        raise ValueError(
            "a packed file holds HR only, so data.degradation must be bicubic"
        )
    return array


def open_batches(
    config: DataConfig, seed: int = 0, process_index: int = 0, process_count: int = 1
):
    """The iterator for `config.path`: packed for a .npy file, else grain over a
    prepared dataset.
    """
    if config.path.endswith(".npy"):
        return PackedBatches(config, seed, process_index, process_count)
    from train.pipeline import (
        GrainBatches,
    )  # grain and tfds are absent on a bare machine

    return GrainBatches(config, seed, process_index, process_count)
