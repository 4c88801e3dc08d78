"""Seeded inputs of the LPIPS golden values, shared by the test and by the torch script
that made them.
"""

import numpy as np

from sdvsr_jax.metrics.lpips import TRUNKS, Conv, Fire


def image_pairs(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Four pairs [4, size, size, 3] in [-1, 1]: noise, a smooth image with noise of 0.3
    and 0.03, and a shift.
    """
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:size, :size] / size
    smooth = (
        np.stack(
            [np.sin(9 * rows + 5 * columns + phase) for phase in (0, 1, 2)], axis=-1
        )
        * 0.8
    )
    noise = rng.uniform(-1, 1, (2, size, size, 3))
    x = np.stack([noise[0], smooth, smooth, smooth])
    y = np.stack(
        [
            noise[1],
            smooth + 0.3 * noise[1],
            smooth + 0.03 * noise[1],
            np.roll(smooth, 3, axis=1),
        ]
    )
    return np.clip(x, -1, 1).astype(np.float32), np.clip(y, -1, 1).astype(np.float32)


def random_state(net: str) -> dict[str, np.ndarray]:
    """A state dict of seeded random weights under torchvision and lpips names, in a
    fixed order.
    """
    rng = np.random.default_rng(11)
    state: dict[str, np.ndarray] = {}

    def conv(name: str, inputs: int, outputs: int, kernel: int) -> None:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"{name}.weight"] = (
            scale * rng.standard_normal((outputs, inputs, kernel, kernel))
        ).astype(np.float32)
        state[f"{name}.bias"] = (0.1 * rng.standard_normal(outputs)).astype(np.float32)

    channels = 3
    for tap, stage in enumerate(TRUNKS[net]):
        for layer in stage:
            if isinstance(layer, Conv):
                conv(f"features.{layer.index}", channels, layer.channels, layer.kernel)
                channels = layer.channels
            elif isinstance(layer, Fire):
                conv(f"features.{layer.index}.squeeze", channels, layer.squeeze, 1)
                conv(
                    f"features.{layer.index}.expand1x1", layer.squeeze, layer.expand, 1
                )
                conv(
                    f"features.{layer.index}.expand3x3", layer.squeeze, layer.expand, 3
                )
                channels = 2 * layer.expand
        state[f"lin{tap}.model.1.weight"] = rng.uniform(
            0, 1, (1, channels, 1, 1)
        ).astype(np.float32)
    return state
