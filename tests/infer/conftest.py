"""A tiny real model, a shared compile cache, the real clips where they are, and runs of the real command."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from clips import ROOT

from sdvsr_jax import checkpoint
from sdvsr_jax.config import ModelConfig, nano
from sdvsr_jax.convert import flatten, unflatten
from sdvsr_jax.networks import init_params

CLIPS = Path(os.environ.get("SDVSR_SHARED", ROOT.parent / "shared")) / "data" / "clips"


def tiny() -> ModelConfig:
    """`nano` at toy width."""
    base = nano()
    return dataclasses.replace(
        base,
        name="tiny",
        unet=dataclasses.replace(base.unet, latent_channels=4, block_channels=(8, 16)),
        guidance=dataclasses.replace(base.guidance, condition_channels=(8,)),
        vae=dataclasses.replace(
            base.vae,
            latent_channels=4,
            encoder_channels=(8,),
            decoder_channels=(8,) * len(base.vae.decoder_channels),
        ),
        flow=dataclasses.replace(base.flow, channels=4),
        diffusion=dataclasses.replace(base.diffusion, num_steps=2),
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A .safetensors file of a small model with random weights everywhere, so that state and noise matter."""
    config = tiny()
    rng = np.random.default_rng(0)
    shapes = flatten(jax.eval_shape(lambda key: init_params(key, config), jax.random.key(0)))
    params = {
        path: np.asarray(
            rng.standard_normal(s.shape) * (0.1 if s.ndim < 2 else 0.5 / np.sqrt(np.prod(s.shape[:-1]))), np.float32
        )
        for path, s in shapes.items()
    }
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    checkpoint.save(path, config, unflatten(params))
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compiled programs are shared by all runs of this session and nothing touches the user's cache."""
    folder = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_CACHE_HOME"] = folder
    return folder


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command(tiny_model: str) -> Callable[..., list[str]]:
    """The words of a real command line with the tiny model."""

    def build(*arguments: object, model: str = tiny_model) -> list[str]:
        return [sys.executable, "-m", "infer", *map(str, arguments), "--model", model]

    return build


@pytest.fixture(scope="session")
def run(command: Callable[..., list[str]]) -> Run:
    """Run the command as a user does; returns the finished process with its stderr."""

    def call(*arguments: object, **kwargs: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command(*arguments, **kwargs), cwd=ROOT, capture_output=True, text=True, timeout=300)

    return call


@pytest.fixture
def clip() -> Callable[[str], str]:
    """Path of a real clip; skips where the collection is not at hand."""

    def find(name: str) -> str:
        path = CLIPS / name
        if not path.exists():
            pytest.skip(f"{path} is not here (set SDVSR_SHARED to the folder with data/clips)")
        return str(path)

    return find
