"""Packed form: one .npy of pre-cropped HR windows, for machines with nothing but jax,
flax, optax and numpy.

Same interface as `train.data.pipeline.GrainBatches`. LR frames are left to the device
(antialiased bicubic, 8 bit).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configs import DataConfig
from train.data.batch import SCALE, Batch
from train.data.windows import crop_origin, window_indices


def write_packed(
    path: Path, batches: Iterable[Batch], count: int, *, with_lr: bool = False
) -> tuple[int, ...]:
    """Write `count` batches of one window as one uint8[n,f,H,W,3] file; returns its
    shape.

    ``with_lr``: also their LR frames, uint8[n,f,h,w,3], as NAME.lr.npy.
    """
    targets = {path: "hr"} | ({lr_path(path): "lr"} if with_lr else {})
    arrays: dict[Path, np.memmap] = {}
    for index, batch in zip(range(count), batches, strict=True):
        for target, name in targets.items():
            window = getattr(batch, name)[0]
            if index == 0:
                shape = (count, *window.shape)
                arrays[target] = np.lib.format.open_memmap(
                    _partial(target), "w+", np.uint8, shape
                )
            arrays[target][index] = window
    shape = arrays[path].shape
    for target in list(arrays):
        arrays.pop(target).flush()
        _partial(target).rename(
            target
        )  # a half-written file never carries the final name
    return shape


def lr_path(path: Path) -> Path:
    """The LR frames beside packed HR windows."""
    return path.with_suffix(".lr.npy")


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial")


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
        self._lr = (
            None if config.degradation == "bicubic" else _open_lr(config, self._array)
        )
        if config.batch_size % process_count:
            raise ValueError(
                f"data.batch_size {config.batch_size} is not a multiple of "
                f"{process_count} processes"
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
        windows = [self._window(first + k * self._stride) for k in range(size)]
        if self._lr is None:
            return Batch(np.stack([hr for hr, _ in windows]))
        return Batch(*(np.stack(part) for part in zip(*windows)))

    def _window(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        epoch, place = divmod(index, len(self._array))
        if self._order[0] != epoch:
            self._order = (
                epoch,
                np.random.default_rng([self._seed, 1, epoch]).permutation(
                    len(self._array)
                ),
            )
        rng = np.random.default_rng([self._seed, 3, index])
        number = self._order[1][place]
        window = self._array[number]
        frames = window_indices(
            len(window), self._config.frames, rng, self._config.reverse
        )
        crop = self._config.crop
        top, left = crop_origin(window.shape[1:3], crop, SCALE, rng)
        flips = rng.random() < self._config.flip
        is_static = rng.random() < self._config.static

        def cut(window: np.ndarray, scale: int) -> np.ndarray:
            rows, columns = (
                slice(start * scale // SCALE, start * scale // SCALE + crop * scale)
                for start in (top, left)
            )
            part = window[frames, rows, columns]
            part = part[:, :, ::-1] if flips else part
            return np.repeat(part[:1], len(part), 0) if is_static else part

        return cut(window, SCALE), None if self._lr is None else cut(
            self._lr[number], 1
        )

    def get_state(self) -> dict[str, Any]:
        """JSON-ready cursor."""
        return {"packed": self._next}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_state` was called."""
        if "packed" not in state:
            raise ValueError(
                "the checkpoint was written with another kind of data source: resume "
                "with the same data.path"
            )
        self._next = int(state["packed"])

    def close(self) -> None:
        """Nothing is held open but the file mapping."""


def _open(config: DataConfig) -> np.ndarray:
    path = Path(config.path)
    if not path.is_file():
        raise ValueError(
            f"data.path={path}: no such file; make it: python -m train.prepare --pack "
            f"{path}"
        )
    array = np.load(path, mmap_mode="r")
    if array.ndim != 5 or array.dtype != np.uint8 or array.shape[-1] != 3:
        raise ValueError(
            f"{path}: found {array.dtype}{list(array.shape)}, expected "
            "uint8[n,f,H,W,3] of train.prepare --pack"
        )
    side = SCALE * config.crop
    if min(array.shape[2:4]) < side:
        raise ValueError(
            f"{path}: windows of {array.shape[3]}x{array.shape[2]}, the run needs "
            f"{side}x{side}: lower data.crop, "
            "or pack larger windows"
        )
    return array


def _open_lr(config: DataConfig, hr: np.ndarray) -> np.ndarray:
    path = lr_path(Path(config.path))
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file, so data.degradation must be bicubic; train.prepare "
            "--pack "
            f"--degradation {config.degradation} writes it"
        )
    array = np.load(path, mmap_mode="r")
    expected = (*hr.shape[:2], hr.shape[2] // SCALE, hr.shape[3] // SCALE, 3)
    if array.shape != expected or array.dtype != np.uint8:
        raise ValueError(
            f"{path}: found {array.dtype}{list(array.shape)}, expected "
            f"uint8{list(expected)}"
        )
    return array
