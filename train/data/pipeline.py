"""grain pipeline: prepared dataset -> batches of paired LR and HR windows, resumable at
any batch.

Window i is a pure function of (seed, i), whatever the threads do; only `num_workers`
changes the order.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from PIL import Image

from configs import DataConfig
from train.data import degrade, rendered
from train.data.batch import SCALE, Batch, Clip
from train.data.frame_cache import FrameCache
from train.data.motion import moving_crops
from train.data.resize import resize
from train.data.windows import crop_origin, draw, window_indices

MARGIN = {"bicubic": 4, "blind": 16, "real": 16}
"""LR pixels degraded around the crop and cut away: filters and motion vectors reach
across a crop's border.
"""


class Windows:
    """A random-access source of windows for one process out of `process_count`."""

    def __init__(
        self, config: DataConfig, seed: int, process_index: int, process_count: int
    ):
        self.config = config
        self.seed = seed
        self.process_index = process_index
        self.process_count = process_count
        self._cache: FrameCache | None = None

    def __getstate__(self) -> dict[str, Any]:
        # each worker process opens the files itself
        return self.__dict__ | {"_cache": None}

    def __len__(self) -> int:
        return 2**40

    @property
    def cache(self) -> FrameCache:
        if self._cache is None:
            config = self.config
            self._cache = FrameCache(config.path, config.split, config.cache_mb)
        return self._cache

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """{'hr', 'lr'} of one window. The error of a broken record names it."""
        config = self.config
        kind = config.degradation
        margin = MARGIN[kind]
        number = index * self.process_count + self.process_index
        shot, rng = draw(number, len(self.cache), config.visits, self.seed)
        extra = before = 0
        if kind != "bicubic":
            extra, before = degrade.context_frames(rng, kind)
        length = config.frames + extra
        side = (config.crop + 2 * margin) * SCALE
        if config.rendered and rng.random() < config.rendered:
            hr = rendered.clip(length, side, rng)
        else:
            candidates = [
                self._moving_window(shot, length, side, rng)
                for _ in range(config.candidates)
            ]
            details = [detail(_trim(hr, margin * SCALE)) for hr in candidates]
            hr = candidates[np.argmax(details)]
        if rng.random() < config.flip:
            hr = hr[:, :, ::-1]
        if rng.random() < config.static:
            still = hr[before : before + 1]
            hr = np.repeat(still, len(hr), 0)
        lr = degrade.KINDS[kind](hr, rng, SCALE)
        frames = slice(before, before + config.frames)
        return {
            "hr": _trim(hr[frames], margin * SCALE),
            "lr": _trim(lr[frames], margin),
        }

    def _moving_window(
        self, shot: int, length: int, side: int, rng: np.random.Generator
    ) -> np.ndarray:
        config = self.config
        is_real = config.degradation == "real"
        count = len(self.cache.shot(shot).frames)
        if count == 1:
            photo = self.cache.frame(shot, 0)
            whole_pixels = is_real and rng.random() < 0.7
            return moving_crops(photo, length, side, rng, whole_pixels=whole_pixels)
        indices = window_indices(count, length, rng, config.reverse, config.max_start)
        crop_side = config.crop * SCALE
        margin = (side - crop_side) // 2
        height, width, _ = self.cache.frame(shot, int(indices[0])).shape
        if is_real:
            # a frame smaller than the crop is mirrored at its end, as margins are
            height = max(height, crop_side)
            width = max(width, crop_side)
        top, left = crop_origin((height, width), config.crop, SCALE, rng)
        crops = []
        for index in indices:
            frame = self.cache.frame(shot, int(index))
            crops.append(_cut(frame, top - margin, left - margin, side))
        return np.stack(crops)


def detail(frames: Clip) -> float:
    """Returns the mean difference between neighbours among the LR pixels of the first
    frame, in 8-bit levels.
    """
    height, width = frames.shape[1:3]
    size = height // SCALE, width // SCALE
    small = resize(frames[:1], size, Image.Resampling.BICUBIC)
    lr = small.astype(np.float32)
    beside = np.abs(np.diff(lr, axis=2)).mean()
    below = np.abs(np.diff(lr, axis=1)).mean()
    return float(beside + below) / 2


def _cut(frame: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """frame[top:top+side, left:left+side], mirrored where the frame ends."""
    height, width, _ = frame.shape
    bottom = top + side
    right = left + side
    part = frame[max(top, 0) : bottom, max(left, 0) : right]
    rows = (max(-top, 0), max(bottom - height, 0))
    columns = (max(-left, 0), max(right - width, 0))
    if rows == columns == (0, 0):
        return part
    return np.pad(part, [rows, columns, (0, 0)], mode="symmetric")


def _trim(frames: np.ndarray, margin: int) -> np.ndarray:
    inner = slice(margin, -margin)
    return np.ascontiguousarray(frames[:, inner, inner])


class GrainBatches:
    """Iterator of `Batch` with exact resume: `get_state()` / `set_state()` at any
    batch; `close()` when done.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if config.batch_size % process_count:
            raise ValueError(
                f"data.batch_size {config.batch_size} is not a multiple of "
                f"{process_count} processes"
            )
        source = Windows(config, seed, process_index, process_count)
        if not len(source.cache):
            raise ValueError(
                f"data.path={config.path}: split {config.split!r} is empty"
            )
        options = grain.ReadOptions(
            num_threads=config.num_threads, prefetch_buffer_size=2 * config.batch_size
        )
        dataset = grain.MapDataset.source(source).to_iter_dataset(options)
        dataset = dataset.batch(config.batch_size // process_count)
        if config.num_workers:
            dataset = _with_workers(dataset, config.num_workers)
        self._num_workers = config.num_workers
        self._num_processes = process_count
        self._iterator = iter(dataset)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        return Batch(hr=batch["hr"], lr=batch["lr"])

    def get_state(self) -> dict[str, Any]:
        """JSON-ready cursor, the same in every process."""
        return {
            "num_workers": self._num_workers,
            "num_processes": self._num_processes,
            "grain": self._iterator.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_state` was called; the number of workers must be the
        same, and with workers that of processes.
        """
        if state["num_workers"] != self._num_workers:
            raise ValueError(
                f"data.num_workers is {self._num_workers}, the checkpoint was written "
                f"with {state['num_workers']}: "
                "the order of windows depends on it, use "
                f"--data.num-workers={state['num_workers']}"
            )
        before = state.get("num_processes", self._num_processes)
        cursor = state["grain"]
        if before != self._num_processes:
            cursor = self._cursor_of(cursor, before)
        self._iterator.set_state(cursor)

    def _cursor_of(self, cursor: dict[str, Any], before: int) -> dict[str, Any]:
        """The cursor of one of ``before`` processes, for one of those that there are
        now.
        """
        if self._num_workers:
            raise ValueError(
                f"there are {self._num_processes} processes, the checkpoint was "
                f"written by {before}: with --data.num-workers the order of windows "
                "depends on it, use as many, or --data.num-workers=0 from the start"
            )
        # each process counts its own windows
        number = cursor["next_index"] * before
        return {"next_index": number // self._num_processes}

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close:
            close()


def _with_workers(dataset: grain.IterDataset, num_workers: int) -> grain.IterDataset:
    from absl import flags

    # grain's workers read absl flags, which only absl.app.run would parse
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
