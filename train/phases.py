"""Take a fixed pattern of period `scale` out of trained weights.

    python -m train.phases runs/real/joint/weights.safetensors --out nano.safetensors \
        --data.path real.validation.npy --data.degradation real

Sub-pixel layers learn biases that differ from phase to phase (row and column modulo
the scale), and back-projection does not see a pattern whose mean over a cell is zero.
The mean pattern over the given windows is subtracted from the biases of the decoder's
last layer, twice, because the frame that is fed back carries it as well.
"""

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from configs import DataConfig
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import StreamState, init_state, step
from sdvsr_jax.types import Array, Float, LRFrame, Params, Prepared
from sdvsr_jax.weights import load as checkpoint
from train import command
from train.data.source import open_batches
from train.frames import Video, video_of
from train.losses import phase_means

PASSES = 2


@dataclass(frozen=True)
class Settings:
    """Which weights, where to, and the windows to measure on."""

    weights: tyro.conf.Positional[str]
    out: Path
    data: DataConfig = field(default_factory=DataConfig)
    windows: int = 16


def mean_pattern(
    params: Params, video: Video, config: ModelConfig
) -> Float[Array, "p q 3"]:
    """The pattern of output less bicubic input, over a window of several streams."""
    prepared = prepare(params, config)
    run = jax.jit(functools.partial(_frame_pattern, config=config))
    _, batch, height, width, _ = video.lr.shape
    state = init_state(config, batch, height, width)
    patterns = []
    for lr in video.lr:
        state, pattern = run(prepared, state, lr)
        patterns.append(pattern)
    stacked = jnp.stack(patterns)
    return stacked.mean(0)


def centred(params: Params, pattern: Float[Array, "p q 3"]) -> Params:
    """The parameters with the pattern subtracted from the last layer's biases."""
    vae = params["vae"]
    decoder = vae["decoder"]
    last = max(decoder, key=_layer_number)
    layer = decoder[last]
    # the layer's channels are the pixels of a cell, as a pattern's are
    shift = np.asarray(pattern).reshape(-1)
    new_layer = layer | {"bias": layer["bias"] - shift}
    new_decoder = decoder | {last: new_layer}
    new_vae = vae | {"decoder": new_decoder}
    return params | {"vae": new_vae}


def _layer_number(name: str) -> int:
    # by number, not by name: 10 comes behind 9
    _, _, number = name.rpartition("_")
    return int(number)


def main(arguments: list[str] | None = None) -> int:
    """Prints the pattern's deviation before each pass and after the last, in levels."""
    settings = tyro.cli(Settings, args=arguments, prog="python -m train.phases")
    return command.run(functools.partial(_write, settings))


def _write(settings: Settings) -> None:
    command.require_new(settings.out, "--out")
    config, params = checkpoint.load(settings.weights)
    data = dataclasses.replace(settings.data, batch_size=settings.windows, frames=8)
    batches = open_batches(data)
    batch = next(batches)
    batches.close()
    video = video_of(batch)
    for _ in range(PASSES):
        pattern = mean_pattern(params, video, config)
        _print_deviation(pattern)
        params = centred(params, pattern)
    pattern = mean_pattern(params, video, config)
    _print_deviation(pattern)
    checkpoint.save(settings.out, config, params)


def _print_deviation(pattern: Array) -> None:
    levels = 127.5 * float(pattern.std())
    print(f"deviation of the phase means: {levels:.3f} levels")


def _frame_pattern(
    prepared: Prepared, state: StreamState, lr: LRFrame, *, config: ModelConfig
) -> tuple[StreamState, Array]:
    state, sr = step(prepared, state, lr, config=config)
    # the bicubic frame has no pattern, and without it less of the picture is left
    residual = sr - upsample_bicubic(lr, config.scale)
    return state, phase_means(residual, config.scale)


if __name__ == "__main__":
    raise SystemExit(main())
