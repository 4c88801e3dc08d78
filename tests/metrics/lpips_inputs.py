"""Seeded inputs of the LPIPS golden values, for the test and for the script in torch
that made them.
"""

import numpy as np

from sdvsr_jax.metrics.lpips import TRUNKS, Conv, Fire


def image_pairs(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Four pairs [4, size, size, 3] in [-1, 1].

    Noise, a smooth image with noise of 0.3 and of 0.03, and a shift.
    """
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:size, :size] / size
    waves = [np.sin(9 * rows + 5 * columns + phase) for phase in (0, 1, 2)]
    smooth = np.stack(waves, axis=-1) * 0.8
    noise, other = rng.uniform(-1, 1, (2, size, size, 3))
    strong = smooth + 0.3 * other
    weak = smooth + 0.03 * other
    shifted = np.roll(smooth, 3, axis=1)
    x = np.stack([noise, smooth, smooth, smooth])
    y = np.stack([other, strong, weak, shifted])
    return _clip(x), _clip(y)


def _clip(images: np.ndarray) -> np.ndarray:
    return np.clip(images, -1, 1).astype(np.float32)


def random_state(net: str) -> dict[str, np.ndarray]:
    """A state dict of seeded random weights under torchvision and lpips names.

    The order of the draws is part of the golden values.
    """
    rng = np.random.default_rng(11)
    state: dict[str, np.ndarray] = {}

    def conv(name: str, inputs: int, outputs: int, kernel: int) -> None:
        fan_in = inputs * kernel**2
        # He's: the size of activations stays the same behind every ReLU
        scale = (2 / fan_in) ** 0.5
        weight = scale * rng.standard_normal((outputs, inputs, kernel, kernel))
        bias = 0.1 * rng.standard_normal(outputs)
        state[f"{name}.weight"] = weight.astype(np.float32)
        state[f"{name}.bias"] = bias.astype(np.float32)

    channels = 3
    for tap, stage in enumerate(TRUNKS[net]):
        for layer in stage:
            if isinstance(layer, Conv):
                name = f"features.{layer.index}"
                conv(name, channels, layer.channels, layer.kernel)
                channels = layer.channels
            elif isinstance(layer, Fire):
                name = f"features.{layer.index}"
                squeeze = layer.squeeze
                expand = layer.expand
                conv(f"{name}.squeeze", channels, squeeze, 1)
                conv(f"{name}.expand1x1", squeeze, expand, 1)
                conv(f"{name}.expand3x3", squeeze, expand, 3)
                # the two expansions are concatenated
                channels = 2 * expand
        head = rng.uniform(0, 1, (1, channels, 1, 1))
        state[f"lin{tap}.model.1.weight"] = head.astype(np.float32)
    return state
