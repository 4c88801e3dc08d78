"""Where a run's numbers go: the terminal, log.jsonl, and TensorBoard where tensorboardX
is installed.
"""

import importlib.util
import json
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from train.data.batch import Picture


class Log:
    """Numbers by step. Only process 0 writes."""

    def __init__(
        self, folder: Path, total_steps: int, images_per_step: int, is_main: bool
    ):
        self._is_main = is_main
        self._total = total_steps
        self._images = images_per_step
        self._started: tuple[float, int] | None = None
        if not is_main:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "log.jsonl").open("a")
        self._board = None
        if importlib.util.find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def start(self, step: int) -> None:
        """The clock of images/s and ETA starts here (after compilation)."""
        self._started = time.monotonic(), step

    def write(self, step: int, metrics: dict[str, float], kind: str = "train") -> None:
        """One record; non-finite numbers are written as null."""
        if not self._is_main:
            return
        record: dict[str, str | float | None] = {"kind": kind, "step": step}
        for name, value in metrics.items():
            is_number = np.isfinite(value)
            # JSON has no NaN
            record[name] = float(value) if is_number else None
        line = json.dumps(record)
        self._file.write(f"{line}\n")
        # a run may be killed at any time
        self._file.flush()
        if self._board:
            for name, value in metrics.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)
        cells = [f"{name} {value:.4g}" for name, value in metrics.items()]
        numbers = "  ".join(cells)
        speed = self._speed(step) if kind == "train" else ""
        place = f"{step}/{self._total}"
        print(f"{kind} {place}  {numbers}{speed}", flush=True)

    def picture(self, step: int, name: str, image: Picture) -> None:
        """uint8[h,w,3] to TensorBoard."""
        if self._is_main and self._board:
            self._board.add_image(name, image, step, dataformats="HWC")

    def _speed(self, step: int) -> str:
        if self._started is None:
            return ""
        start_time, start_step = self._started
        num_steps = step - start_step
        if num_steps <= 0:
            return ""
        seconds = time.monotonic() - start_time
        rate = num_steps / seconds
        images_per_second = rate * self._images
        steps_to_go = self._total - step
        seconds_to_go = int(steps_to_go / rate)
        clock = timedelta(seconds=seconds_to_go)
        return f"  {images_per_second:.1f} images/s  ETA {clock}"

    def close(self) -> None:
        if self._is_main:
            self._file.close()
            if self._board:
                self._board.close()
