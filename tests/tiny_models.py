"""Small models with random weights, in both forms that the code serves."""

import dataclasses
import functools
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sdvsr_jax import ModelConfig, compile_step, nano, prepare, stream_diffvsr
from sdvsr_jax.config import RestorerConfig
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.stream import Step
from sdvsr_jax.types import Params, Prepared


def tiny_published() -> ModelConfig:
    """The published form at toy width: all quirks, transformers, group norm, RAFT."""
    base = stream_diffvsr()
    return dataclasses.replace(
        base,
        name="tiny_published",
        unet=dataclasses.replace(
            base.unet,
            block_channels=(8, 16),
            attention=("cross", "self"),
            layers_per_block=1,
            num_heads=2,
            text_channels=8,
            num_groups=4,
        ),
        guidance=dataclasses.replace(base.guidance, condition_channels=(4, 6, 8)),
        vae=dataclasses.replace(
            base.vae,
            encoder_channels=(8, 8, 8),
            encoder_blocks=(1, 1, 1),
            decoder_channels=(8, 8, 8),
            decoder_blocks=(1, 1, 1),
        ),
        flow=dataclasses.replace(base.flow, channels=8, num_updates=3),
    )


def tiny_nano() -> ModelConfig:
    """The nano form at toy width: residual autoencoder, validity maps, cut detection,
    our flow network.
    """
    base = nano()
    return dataclasses.replace(
        base,
        name="tiny_nano",
        unet=dataclasses.replace(base.unet, latent_channels=4, block_channels=(8, 16)),
        guidance=dataclasses.replace(base.guidance, condition_channels=(8,)),
        vae=dataclasses.replace(
            base.vae,
            latent_channels=4,
            encoder_channels=(8,),
            decoder_channels=(8,),
            decoder_blocks=(2,),
        ),
        flow=dataclasses.replace(base.flow, channels=4, num_levels=3),
        # Random frames are never photometrically consistent; a wide sigma keeps their
        # history in use.
        history=dataclasses.replace(
            base.history, consistency_sigma=2.0, cut_validity=0.05
        ),
    )


def tiny_restored() -> ModelConfig:
    """The nano form with a restorer in front."""
    restorer = RestorerConfig(channels=8, num_blocks=1, memory_channels=4)
    return dataclasses.replace(tiny_nano(), name="tiny_restored", restorer=restorer)


TINY = {
    "published": tiny_published,
    "nano": tiny_nano,
    "restored": tiny_restored,
}


def random_params(config: ModelConfig, seed: int = 0) -> Params:
    """Every leaf random (nothing starts at zero, unlike `init_params`), scaled so that
    outputs stay moderate.
    """
    rng = np.random.default_rng(seed)
    shapes: dict[tuple[str, ...], Any] = flatten_dict(abstract_params(config))

    def random(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal(shape).astype(np.float32)
        if name == "kernel":
            fan_in = np.prod(shape[:-1], dtype=np.float32)
            return noise / np.sqrt(fan_in)
        # norms divide by them
        if name in ("scale", "running_var"):
            return 1 + 0.1 * np.abs(noise)
        return 0.1 * noise

    leaves = {path: random(path[-1], leaf.shape) for path, leaf in shapes.items()}
    return unflatten_dict(leaves)


@functools.cache
def tiny(form: str) -> tuple[ModelConfig, Prepared]:
    """Config and prepared parameters of the tiny model of that form, for the laws of
    the stream.

    All but "raft", which is the published form as it is, have the small flow network:
    RAFT compiles for long.
    """
    if form == "raft":
        config = tiny_published()
    else:
        config = dataclasses.replace(TINY[form](), flow=tiny_nano().flow)
    return config, prepare(random_params(config), config)


@functools.cache
def compiled(config: ModelConfig) -> Step:
    """The step of that model, compiled once for all tests of a process."""
    return compile_step(config)


def frames(
    count: int, batch: int = 1, height: int = 32, width: int = 36, seed: int = 1
) -> np.ndarray:
    """A drifting random texture [count, batch, h, w, 3] in [-1, 1]; a shorter clip is
    the beginning of a longer.
    """
    rng = np.random.default_rng(seed)
    # room for eight frames of drift
    noise = rng.uniform(-1, 1, (batch, height + 8, width + 8, 3))
    canvas = noise.astype(np.float32)
    # means of neighbours: an interpolated sample of white noise would be mostly grey
    for axis in (1, 2):
        canvas = (canvas + np.roll(canvas, 1, axis)) / 2
    return np.stack([canvas[:, i : i + height, i : i + width] for i in range(count)])
