"""Weights and inputs made from their names: the same arrays in every environment, with
nothing to store.

Raw PCG64 output is used because only that is guaranteed to stay the same in later numpy
versions.
"""

import hashlib
import math

import numpy as np


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Mean 0, variance 1, float32, from the name alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    raw = np.random.PCG64(seed).random_raw(math.prod(shape)).reshape(shape)
    return ((np.asarray(raw, np.float64) / 2**64 - 0.5) * math.sqrt(12)).astype(
        np.float32
    )


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter of a PyTorch state dict, of a scale that keeps activations alive."""
    values, kind = uniform(name, shape), name.rsplit(".", 1)[-1]
    if kind == "running_var":
        return 1 + 0.5 * values
    if kind == "alpha":
        return 0.4 + 0.1 * values
    if kind in ("bias", "running_mean"):
        return 0.1 * values
    if ("embedding" in name and "token" in name) or "position_embedding" in name:
        return values
    if len(shape) == 1:
        return 1 + 0.2 * values
    return values / np.float32(math.sqrt(math.prod(shape[1:])))


def state_dict(part: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights of one network, by state-dict key."""
    return {key: weight(f"{part}/{key}", shape) for key, shape in shapes.items()}


def image(name: str, *shape: int) -> np.ndarray:
    """Smooth moving waves and a little noise in [-1, 1], [frames, h, w, 3]."""
    frames, height, width, _ = shape
    frame, y, x, c = np.ogrid[:frames, :height, :width, :3]
    waves = np.sin(0.23 * (x - 1.3 * frame) + 0.11 * y + c) + np.sin(
        0.17 * (y + 0.7 * frame) - 0.07 * x * (c + 1)
    )
    return np.clip(0.45 * waves + 0.08 * uniform(name, shape), -1, 1).astype(np.float32)
