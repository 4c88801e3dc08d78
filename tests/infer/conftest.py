"""A tiny real model, a shared compile cache, the real clips where they are, and runs of
the real command.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import ROOT, make_video, real_pictures
from endings import COUNT, SIZE, SOURCES
from flax.traverse_util import flatten_dict, unflatten_dict

from infer.__main__ import main
from sdvsr_jax import nano
from sdvsr_jax.config import DiffusionConfig, ModelConfig
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.weights import load as checkpoint
from tests.tiny_models import random_params, tiny_nano, tiny_restored

CLIPS = Path(os.environ.get("SDVSR_SHARED", ROOT.parent / "shared")) / "data" / "clips"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A .safetensors file of a small model with random weights everywhere, so that
    state and noise matter.
    """
    config = dataclasses.replace(tiny_nano(), diffusion=DiffusionConfig(num_steps=2))
    rng = np.random.default_rng(0)
    shapes = flatten_dict(abstract_params(config))
    params = {
        path: np.asarray(
            rng.standard_normal(s.shape)
            * (0.1 if s.ndim < 2 else 0.5 / np.sqrt(np.prod(s.shape[:-1]))),
            np.float32,
        )
        for path, s in shapes.items()
    }
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    checkpoint.save(path, config, unflatten_dict(params))
    return str(path)


@pytest.fixture(scope="session")
def cutting_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model that forgets at cuts as the shipped one does: its flow is zero
    before it is refined, so that equal pictures explain each other.
    """
    return save_cutting(tiny_nano(), tmp_path_factory)


@pytest.fixture(scope="session")
def repairing_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with a restorer in front."""
    return save_cutting(tiny_restored(), tmp_path_factory)


def save_cutting(form: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    config = dataclasses.replace(
        form, diffusion=DiffusionConfig(num_steps=2), history=nano().history
    )
    params = flatten_dict(random_params(config))
    for path, leaf in params.items():
        if "conv_2" in path and "decoder" in path:
            params[path] = np.zeros_like(leaf)
    path = tmp_path_factory.mktemp("model") / "cutting.safetensors"
    checkpoint.save(path, config, unflatten_dict(params))
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def private_cache(compiled: Path) -> str:
    """Folder that the command takes for the user's cache, kept for the next run:
    nothing touches the user's own.
    """
    folder = str(compiled / "user")
    os.environ["XDG_CACHE_HOME"] = folder
    return folder


@pytest.fixture
def upscale(
    tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run the command in this process; returns its exit status and its messages."""

    def call(*arguments: object, model: object = tiny_model) -> tuple[int, str]:
        status = main([*map(str, arguments), "--model", str(model)])
        return status, capsys.readouterr().err

    return call


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A few real frames in every container."""
    folder = tmp_path_factory.mktemp("sources")
    frames = real_pictures(COUNT, *SIZE)
    for name, how in SOURCES.items():
        count = 1 if how.get("muxer") == "image2" else COUNT
        make_video(str(folder / name), range(count), SIZE, frames=frames[:count], **how)  # type: ignore[arg-type]
    return {name: (folder / name).read_bytes() for name in SOURCES}


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
        return subprocess.run(
            command(*arguments, **kwargs),
            cwd=ROOT,
            capture_output=True,
            text=True,
            # Five minutes: a process that compiles on a machine on which all tests run
            # at once.
            timeout=300,
        )

    return call


@pytest.fixture
def clip() -> Callable[[str], str]:
    """Path of a real clip; skips where the collection is not at hand."""

    def find(name: str) -> str:
        path = CLIPS / name
        if not path.exists():
            pytest.skip(
                f"{path} is not here (set SDVSR_SHARED to the folder with data/clips)"
            )
        return str(path)

    return find
