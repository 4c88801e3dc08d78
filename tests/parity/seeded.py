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
    digest = hashlib.sha256(name.encode()).digest()
    seed = int.from_bytes(digest[:8], "little")
    raw = np.random.PCG64(seed).random_raw(math.prod(shape))
    unit = np.asarray(raw, np.float64) / 2**64
    # a uniform number from 0 to 1 has the variance 1/12
    values = (unit - 0.5) * math.sqrt(12)
    return values.astype(np.float32).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter of a PyTorch state dict, of a scale that keeps activations alive."""
    values = uniform(name, shape)
    kind = name.rsplit(".", 1)[-1]
    # positive: values reach from -1.73 to 1.73
    if kind == "running_var":
        return 1 + 0.5 * values
    if kind == "alpha":
        return 0.4 + 0.1 * values
    if kind in ("bias", "running_mean"):
        return 0.1 * values
    is_token = "embedding" in name and "token" in name
    if is_token or "position_embedding" in name:
        return values
    # scales of norms
    if len(shape) == 1:
        return 1 + 0.2 * values
    fan_in = math.prod(shape[1:])
    return values / np.float32(math.sqrt(fan_in))


def state_dict(part: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights of one network, by state-dict key."""
    return {key: weight(f"{part}/{key}", shape) for key, shape in shapes.items()}


def image(name: str, *shape: int) -> np.ndarray:
    """Smooth moving waves and a little noise in [-1, 1], [frames, h, w, 3]."""
    frames, height, width, _ = shape
    frame, y, x, c = np.ogrid[:frames, :height, :width, :3]
    # 1.3 pixels a frame to the right, 0.7 upwards: no whole ones
    across = np.sin(0.23 * (x - 1.3 * frame) + 0.11 * y + c)
    down = np.sin(0.17 * (y + 0.7 * frame) - 0.07 * x * (c + 1))
    values = 0.45 * (across + down) + 0.08 * uniform(name, shape)
    return np.clip(values, -1, 1).astype(np.float32)
