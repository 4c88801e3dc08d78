"""How fast a device computes, for a prediction without compiling the model."""

import functools
import time

import jax
import jax.numpy as jnp

from infer.model.engine import Device
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.types import Array, Float

SIDE = 128
CHANNELS = 64
"""The probe's convolution is like most of a step's: 3x3, some dozens of channels."""
NUM_LAYERS = 8
NUM_RUNS = 3
"""The fastest counts: another process may disturb one of them."""
# Speed of a whole step over that of the probe. A rough value: a step also warps,
# normalises and resizes, which the count of operations leaves out, and how much that
# costs differs from machine to machine.
STEP_SHARE = 0.6


def predict_seconds(
    config: ModelConfig, width: int, height: int, device: Device
) -> float:
    """Seconds that one LR frame of width x height will take on the device.

    Takes about a second. A rough guide: it can be wrong by a factor of two or three.
    """
    operations = frame_flops(config, width, height)
    speed = measure_speed(device, config.compute_dtype)
    return operations / (STEP_SHARE * speed)


def measure_speed(device: Device, dtype: str) -> float:
    """Operations a second of a stack of convolutions, a multiply-add counted as two."""
    image = jnp.zeros((1, SIDE, SIDE, CHANNELS), dtype)
    kernel = jnp.zeros((3, 3, CHANNELS, CHANNELS), dtype)
    image, kernel = jax.device_put((image, kernel), device)
    _convolve(image, kernel).block_until_ready()  # compiles
    seconds = []
    for _ in range(NUM_RUNS):
        start = time.perf_counter()
        _convolve(image, kernel).block_until_ready()
        seconds.append(time.perf_counter() - start)
    num_pixels = SIDE**2
    per_pixel = 2 * 9 * CHANNELS**2
    operations = NUM_LAYERS * num_pixels * per_pixel
    return operations / min(seconds)


@functools.partial(jax.jit)
def _convolve(
    image: Float[Array, "1 s s c"], kernel: Float[Array, "3 3 c c"]
) -> Float[Array, "1 s s c"]:
    for _ in range(NUM_LAYERS):
        image = jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    return image
