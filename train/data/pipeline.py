"""grain pipeline: prepared dataset -> batches of paired LR and HR windows, resumable at
any batch.

Window i is a pure function of (seed, i), whatever the threads do; only `num_workers`
changes the order.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from configs import DataConfig
from train.data import degrade, rendered
from train.data.batch import SCALE, Batch
from train.data.frame_cache import FrameCache
from train.data.motion import moving_crops
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
        self.config, self.seed = config, seed
        self.process_index, self.process_count = process_index, process_count
        self._cache: FrameCache | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_cache": None
        }  # each worker process opens the files itself

    def __len__(self) -> int:
        return 2**40

    @property
    def cache(self) -> FrameCache:
        if self._cache is None:
            self._cache = FrameCache(
                self.config.path, self.config.split, self.config.cache_mb
            )
        return self._cache

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """{'hr', 'lr'} of one window. The error of a broken record names it."""
        shot, rng = draw(
            index * self.process_count + self.process_index, len(self.cache), self.seed
        )
        config, crop = (
            self.config,
            self.config.crop + 2 * MARGIN[self.config.degradation],
        )
        extra, before = (
            (0, 0)
            if config.degradation == "bicubic"
            else degrade.context_frames(rng, self.config.degradation)
        )
        length = config.frames + extra
        if config.rendered and rng.random() < config.rendered:
            hr = rendered.clip(length, crop * SCALE, rng)
        else:
            hr = self._moving_window(shot, length, crop * SCALE, rng)
        if rng.random() < config.flip:
            hr = hr[:, :, ::-1]
        if rng.random() < config.static:
            hr = np.repeat(hr[before : before + 1], len(hr), 0)
        lr = degrade.KINDS[config.degradation](hr, rng, SCALE)
        window, inner = (
            slice(before, before + config.frames),
            MARGIN[config.degradation],
        )
        return {"hr": _trim(hr[window], inner * SCALE), "lr": _trim(lr[window], inner)}

    def _moving_window(
        self, shot: int, length: int, side: int, rng: np.random.Generator
    ) -> np.ndarray:
        count = len(self.cache.shot(shot).frames)
        if count == 1:
            whole_pixels = self.config.degradation == "real" and rng.random() < 0.7
            return moving_crops(
                self.cache.frame(shot, 0), length, side, rng, whole_pixels=whole_pixels
            )
        indices = window_indices(
            count, length, rng, self.config.reverse, self.config.max_start
        )
        margin = (side - self.config.crop * SCALE) // 2
        height, width = self.cache.frame(shot, int(indices[0])).shape[:2]
        if self.config.degradation == "real":
            # a frame smaller than the crop is mirrored at its end, as margins are
            height, width = (
                max(length, self.config.crop * SCALE) for length in (height, width)
            )
        top, left = crop_origin((height, width), self.config.crop, SCALE, rng)
        return np.stack(
            [
                _cut(self.cache.frame(shot, int(i)), top - margin, left - margin, side)
                for i in indices
            ]
        )


def _cut(frame: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """frame[top:top+side, left:left+side], mirrored where the frame ends."""
    bottom, right = top + side - frame.shape[0], left + side - frame.shape[1]
    part = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    if min(top, left, -bottom, -right) >= 0:
        return part
    return np.pad(
        part,
        [(max(-top, 0), max(bottom, 0)), (max(-left, 0), max(right, 0)), (0, 0)],
        mode="symmetric",
    )


def _trim(frames: np.ndarray, margin: int) -> np.ndarray:
    return np.ascontiguousarray(frames[:, margin:-margin, margin:-margin])


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
        self._iterator = iter(dataset)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        return Batch(hr=batch["hr"], lr=batch["lr"])

    def get_state(self) -> dict[str, Any]:
        """JSON-ready cursor."""
        return {"num_workers": self._num_workers, "grain": self._iterator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_state` was called; the number of workers must be the
        same.
        """
        if state["num_workers"] != self._num_workers:
            raise ValueError(
                f"data.num_workers is {self._num_workers}, the checkpoint was written "
                f"with {state['num_workers']}: "
                "the order of windows depends on it, use "
                f"--data.num-workers={state['num_workers']}"
            )
        self._iterator.set_state(state["grain"])

    def close(self) -> None:
        close = getattr(self._iterator, "close", None)
        if close:
            close()


def _with_workers(dataset: grain.IterDataset, num_workers: int) -> grain.IterDataset:
    from absl import flags

    if (
        not flags.FLAGS.is_parsed()
    ):  # grain's workers read absl flags, which only absl.app.run would parse
        flags.FLAGS.mark_as_parsed()
    return dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
