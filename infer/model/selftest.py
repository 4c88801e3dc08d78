"""The shipped model on a fixed small input, held against numbers that were recorded
with the same weights.
"""

import json
from pathlib import Path

import numpy as np

from infer.model.engine import Engine, load_model
from sdvsr_jax.weights import load as checkpoint

MODEL = "nano"
EXPECTED = Path(str(checkpoint.SHIPPED / "selftest.json"))
"""SHA-256 of the weights file -> the numbers of `measure`."""
HEIGHT, WIDTH, FRAMES, CELL = 24, 32, 3, 32
TOLERANCE = 2.0
"""Levels of 255: room for the rounding of other devices and versions; the tests show
that 3 is a fault.
"""


def pattern(frame: int) -> np.ndarray:
    """Frame of a fixed clip, uint8 [24, 32, 3]: drifting waves, a hard edge and a still
    corner.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    waves = [
        np.sin((x + frame) / 3 + c) * np.cos((y - frame) / (4 + c)) for c in range(3)
    ]
    image = 128 + 90 * np.stack(waves, -1)
    image[:, WIDTH // 2 + 2 * frame :] *= 0.5
    image[:6, :6] = (250, 20, 120)
    return np.rint(image).clip(0, 255).astype(np.uint8)


def measure(device: str) -> np.ndarray:
    """Mean and standard deviation of every 32x32 cell of three frames [3, 2, 3, 4, 3],
    in levels.
    """
    model = load_model(MODEL, device)
    engine = Engine(model, WIDTH, HEIGHT, False, (4 * WIDTH, 4 * HEIGHT))
    state, numbers = engine.start(0), []
    for frame in range(FRAMES):
        state, pixels = engine.step(state, pattern(frame))
        rows, columns = 4 * HEIGHT // CELL, 4 * WIDTH // CELL
        cells = np.asarray(pixels).astype(float).reshape(rows, CELL, columns, CELL, 3)
        numbers.append([cells.mean((1, 3)), cells.std((1, 3))])
    return np.array(numbers)


def record(device: str) -> None:
    """Write the numbers of the weights as they are now; to be done once after the
    weights were replaced.
    """
    numbers = {checkpoint.shipped()[MODEL]: np.round(measure(device), 2).tolist()}
    EXPECTED.write_text(json.dumps(numbers) + "\n", "utf-8")


def fault(found: np.ndarray) -> str:
    """What is wrong with the numbers of this machine, or ''."""
    key = checkpoint.shipped()[MODEL]
    known = json.loads(EXPECTED.read_text("utf-8")) if EXPECTED.exists() else {}
    if key not in known:
        return f"no expected numbers for these weights ({key[:12]}...): python -m infer doctor --record writes them"
    worst = float(np.abs(found - np.array(known[key])).max())
    if worst <= TOLERANCE:  # False for NaN
        return ""
    return f"{MODEL} is off by {worst:.1f} of 255 levels, expected at most {TOLERANCE:g}: reinstall the packages"
