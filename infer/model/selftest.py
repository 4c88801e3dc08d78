"""The shipped model on a fixed small input, held against numbers that were recorded
with the same weights.
"""

import json
from pathlib import Path

import numpy as np

from infer.model.engine import Engine, Shape, load_model
from sdvsr_jax.weights import load as checkpoint

MODEL = "nano"
EXPECTED = Path(str(checkpoint.SHIPPED / "selftest.json"))
"""SHA-256 of the weights file -> the numbers of `measure`."""
WIDTH = 32
HEIGHT = 24
FRAMES = 3
CELL = 32
"""Output pixels."""
TOLERANCE = 2.0
"""Levels of 255: room for the rounding of other devices and versions; the tests show
that 3 is a fault.
"""


def pattern(frame: int) -> np.ndarray:
    """Returns a frame of a fixed clip, uint8 [24, 32, 3].

    It has drifting waves, a hard edge that moves and a still corner.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    waves = []
    for channel in range(3):
        across = np.sin((x + frame) / 3 + channel)
        down = np.cos((y - frame) / (4 + channel))
        waves.append(across * down)
    image = 128 + 90 * np.stack(waves, -1)
    edge = WIDTH // 2 + 2 * frame
    image[:, edge:] *= 0.5
    image[:6, :6] = (250, 20, 120)
    levels = np.rint(image).clip(0, 255)
    return levels.astype(np.uint8)


def measure(device: str) -> np.ndarray:
    """Returns the mean and standard deviation of every 32x32 cell of three frames.

    Shape [frame 3, mean and deviation 2, row 3, column 4, channel 3], in levels of 255.
    """
    model = load_model(MODEL, device)
    width = 4 * WIDTH
    height = 4 * HEIGHT
    shape = Shape(WIDTH, HEIGHT, False, (width, height))
    engine = Engine(model, shape)
    state = engine.start(0)
    rows = height // CELL
    columns = width // CELL
    numbers = []
    for frame in range(FRAMES):
        state, pixels = engine.step(state, pattern(frame))
        values = np.asarray(pixels).astype(float)
        cells = values.reshape(rows, CELL, columns, CELL, 3)
        means = cells.mean((1, 3))
        deviations = cells.std((1, 3))
        numbers.append([means, deviations])
    return np.array(numbers)


def record(device: str) -> None:
    """Writes the numbers of the weights as they are now.

    To be called once after the weights were replaced.
    """
    numbers = np.round(measure(device), 2)
    key = checkpoint.shipped()[MODEL]
    text = json.dumps({key: numbers.tolist()})
    EXPECTED.write_text(text + "\n", "utf-8")


def fault(numbers: np.ndarray) -> str:
    """Returns the fault in this machine's numbers in words, or ''."""
    key = checkpoint.shipped()[MODEL]
    records = {}
    if EXPECTED.exists():
        records = json.loads(EXPECTED.read_text("utf-8"))
    if key not in records:
        return (
            f"no expected numbers for these weights ({key[:12]}...): "
            "python -m infer doctor --record writes them"
        )
    expected = np.array(records[key])
    differences = np.abs(numbers - expected)
    worst = float(differences.max())
    # False for NaN.
    if worst <= TOLERANCE:
        return ""
    return (
        f"{MODEL} is off by {worst:.1f} of 255 levels, expected at most "
        f"{TOLERANCE:g}: reinstall the packages"
    )
