"""Models to measure: presets with random weights made on the device, and the options that choose them."""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from sdvsr_jax.config import PRESETS, ModelConfig, RAFTConfig
from sdvsr_jax.networks import abstract_params, prepare
from sdvsr_jax.types import Params

PRECISIONS = ("float32", "bfloat16", "float16")


def raw_params(config: ModelConfig) -> Params:
    """Weights of the right shapes, small enough that activations stay finite."""
    # One random vector repeated into every leaf: a generator per leaf compiles for minutes at full size.
    noise = 0.02 * jax.random.normal(jax.random.key(0), (2**20,))
    return jax.tree.map(lambda leaf: jnp.resize(noise, leaf.shape), abstract_params(config))


def random_params(config: ModelConfig) -> Params:
    """The same, ready for `step`."""
    return jax.jit(prepare, static_argnums=1)(raw_params(config), config)


def configure(name: str, precision: str = "float32", steps: int | None = None) -> ModelConfig:
    """A preset in a precision; with bfloat16 RAFT's convolutions are in it as well."""
    config = dataclasses.replace(PRESETS[name](), compute_dtype=precision)
    if precision == "bfloat16" and isinstance(config.flow, RAFTConfig):
        config = dataclasses.replace(config, flow=dataclasses.replace(config.flow, dtype="bfloat16"))
    if steps is not None:
        config = dataclasses.replace(config, diffusion=dataclasses.replace(config.diffusion, num_steps=steps))
    return config


def size_of(text: str) -> tuple[int, int]:
    """'320x180' -> (320, 180), LR width and height."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected WIDTHxHEIGHT of the LR frame, such as 320x180")
    return int(width), int(height)


def parser(command: str, text: str | None) -> argparse.ArgumentParser:
    """The options that all commands have."""
    found = argparse.ArgumentParser(prog=f"python -m benchmarks {command}", description=text)
    found.add_argument("--models", nargs="+", default=["nano"], choices=sorted(PRESETS))
    found.add_argument("--sizes", nargs="+", type=size_of, default=[(320, 180)], help="LR sizes, WIDTHxHEIGHT")
    found.add_argument("--precisions", "--precision", nargs="+", default=["float32"], choices=PRECISIONS)
    found.add_argument("--frames", type=int, default=5, help="timed frames of each kind")
    found.add_argument("--json", type=Path, help="keep the numbers")
    found.add_argument("--plot", type=Path, help="a PNG, where the command draws one")
    return found
