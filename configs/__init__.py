"""Run configurations. Each module here is one run: its docstring is its command and expected cost, its `run` the settings.

    python -m train --config=distill --optimizer.learning-rate=1e-4
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

Degradation = Literal["bicubic", "blind"]


@dataclass(frozen=True)
class DataConfig:
    """Windows of HR frames and how they become LR frames. A batch is a pure function of (seed, index)."""

    path: str = "data/train"
    """Folder made by `python -m train.prepare`, or a packed .npy file."""
    split: str = "train"
    frames: int = 1
    """Frames in a window."""
    crop: int = 32
    """Side of the LR crop; HR is 4x."""
    batch_size: int = 8
    """Windows per optimiser step, over all devices."""
    degradation: Degradation = "bicubic"
    flip: float = 0.5
    reverse: float = 0.5
    """Probability that a window runs backwards in time."""
    static: float = 0.0
    """Probability of a frozen window: recurrent models diverge first where nothing moves."""
    max_start: int | None = None
    """Last start frame of a window in a shot; 3 repeats the released Vimeo recipe (frames im5-im7 never start one)."""
    num_workers: int = 0
    """Loader processes; 0 uses threads of this one. A resume must keep the number."""
    num_threads: int = 2
    cache_mb: int = 1024
    """Decoded frames kept in memory."""


def load(name: str) -> "object":
    """The `run` of module `configs.<name>`; an unknown name is a ValueError that lists what there is."""
    import difflib
    import importlib
    import pkgutil

    names = sorted(m.name for m in pkgutil.iter_modules(__path__))
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f", perhaps you meant --config={close[0]}" if close else ""
        raise ValueError(f"--config={name}: no such config{hint}; there are: {', '.join(names)}")
    return importlib.import_module(f"configs.{name}").run
