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
    targets = {path: "hr"}
    if with_lr:
        targets[lr_path(path)] = "lr"
    arrays: dict[Path, np.memmap] = {}
    for index, batch in zip(range(count), batches, strict=True):
        for target, name in targets.items():
            (window,) = getattr(batch, name)
            # the first window tells the shape of all
            if index == 0:
                shape = (count, *window.shape)
                arrays[target] = _create(_partial(target), shape)
            arrays[target][index] = window
    shape = arrays[path].shape
    for target in list(arrays):
        # popped, so that the file is closed when it is renamed
        array = arrays.pop(target)
        array.flush()
        del array
        # a half-written file never carries the final name
        _partial(target).rename(target)
    return shape


def _create(path: Path, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, "w+", np.uint8, shape)


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
        self._lr: np.ndarray | None = None
        if config.degradation != "bicubic":
            self._lr = _open_lr(config, self._array)
        if config.batch_size % process_count:
            raise ValueError(
                f"data.batch_size {config.batch_size} is not a multiple of "
                f"{process_count} processes"
            )
        self._config = config
        self._seed = seed
        self._stride = process_count
        self._offset = process_index
        self._next = 0
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        begin = self._next * self._config.batch_size
        end = begin + self._config.batch_size
        self._next += 1
        # every process takes its own of the windows, which are numbered for all
        numbers = range(begin + self._offset, end, self._stride)
        hr_windows = []
        lr_windows = []
        for number in numbers:
            hr, lr = self._window(number)
            hr_windows.append(hr)
            if lr is not None:
                lr_windows.append(lr)
        hr = np.stack(hr_windows)
        if not lr_windows:
            return Batch(hr)
        return Batch(hr, np.stack(lr_windows))

    def _window(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        config = self._config
        number = self._number(index)
        # the seeds of the orders have a 1 in this place
        rng = np.random.default_rng([self._seed, 3, index])
        window = self._array[number]
        count, height, width, _ = window.shape
        frames = window_indices(count, config.frames, rng, config.reverse)
        crop = config.crop
        origin = crop_origin((height, width), crop, SCALE, rng)
        flips = rng.random() < config.flip
        is_static = rng.random() < config.static

        def cut(window: np.ndarray, scale: int) -> np.ndarray:
            top, left = (start * scale // SCALE for start in origin)
            bottom = top + crop * scale
            right = left + crop * scale
            part = window[frames, top:bottom, left:right]
            if flips:
                part = part[:, :, ::-1]
            if is_static:
                first = part[:1]
                part = np.repeat(first, len(part), 0)
            return part

        hr = cut(window, SCALE)
        if self._lr is None:
            return hr, None
        return hr, cut(self._lr[number], 1)

    def _number(self, index: int) -> int:
        """The window in the file that is taken as number `index`; each epoch has its
        own order.
        """
        count = len(self._array)
        epoch, place = divmod(index, count)
        current, order = self._order
        # kept for the epoch: a permutation for every window would cost more than it
        if current != epoch:
            rng = np.random.default_rng([self._seed, 1, epoch])
            order = rng.permutation(count)
            self._order = (epoch, order)
        return int(order[place])

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
    # a pack may be larger than the memory
    array = np.load(path, mmap_mode="r")
    has_windows = array.ndim == 5 and array.shape[-1] == 3
    if not has_windows or array.dtype != np.uint8:
        raise ValueError(
            f"{path}: found {_described(array)}, expected "
            "uint8[n,f,H,W,3] of train.prepare --pack"
        )
    _, _, height, width, _ = array.shape
    side = SCALE * config.crop
    if min(height, width) < side:
        raise ValueError(
            f"{path}: windows of {width}x{height}, the run needs "
            f"{side}x{side}: lower data.crop, "
            "or pack larger windows"
        )
    return array


def _described(array: np.ndarray) -> str:
    shape = list(array.shape)
    return f"{array.dtype}{shape}"


def _open_lr(config: DataConfig, hr: np.ndarray) -> np.ndarray:
    path = lr_path(Path(config.path))
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file, so data.degradation must be bicubic; train.prepare "
            "--pack "
            f"--degradation {config.degradation} writes it"
        )
    array = np.load(path, mmap_mode="r")
    count, frames, height, width, channels = hr.shape
    lr_height = height // SCALE
    lr_width = width // SCALE
    expected = (count, frames, lr_height, lr_width, channels)
    if array.shape != expected or array.dtype != np.uint8:
        raise ValueError(
            f"{path}: found {_described(array)}, expected uint8{list(expected)}"
        )
    return array
