"""A tiny real model and the command in this process, for the laws of hostile input."""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from infer.__main__ import main
from sdvsr_jax.config import DiffusionConfig
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.weights import load as checkpoint
from tests.attack.outcome import Outcome
from tests.tiny_models import tiny_nano

DATA = Path(__file__).parents[1] / "data"
CHEAP = {"test_doors.py", "test_options.py"}
"""Files whose laws need no model: all their cases run always."""
CASES = 2
"""Cases of a law in CI, where all laws have a minute; the rest is nightly."""


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of many cases of a law most wait for the night."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        if item.path.name not in CHEAP:
            law = item.nodeid.partition("[")[0]
            cases.setdefault(law, []).append(item)
    for group in cases.values():
        _leave_to_the_night(group)


def _leave_to_the_night(group: list[pytest.Item]) -> None:
    # Cases differ most between the two ends of a list.
    step = max(1, len(group) // CASES)
    for place, item in enumerate(group):
        number, rest = divmod(place, step)
        if rest or number >= CASES:
            item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a .safetensors file of a small model with random weights."""
    config = dataclasses.replace(tiny_nano(), diffusion=DiffusionConfig(num_steps=2))
    rng = np.random.default_rng(0)

    def leaf(shape: tuple[int, ...]) -> np.ndarray:
        fan_in = np.prod(shape[:-1])
        # Half of what keeps the variance: no activation grows from layer to layer.
        kernel_scale = 0.5 / np.sqrt(fan_in)
        scale = 0.1 if len(shape) < 2 else kernel_scale
        values = rng.standard_normal(shape) * scale
        return values.astype(np.float32)

    shapes = flatten_dict(abstract_params(config))
    params = {name: leaf(value.shape) for name, value in shapes.items()}
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tree = unflatten_dict(params)
    checkpoint.save(path, config, tree)
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def private_cache(compiled: Path) -> str:
    """Folder that the command takes for the user's cache, which nothing touches."""
    folder = str(compiled / "user")
    os.environ["XDG_CACHE_HOME"] = folder
    return folder


Upscale = Callable[..., Outcome]


@pytest.fixture
def upscale(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Upscale:
    """Run the command in this process. The folder of the test is left out of its words:
    its name has those of the law in it.
    """

    def call(*arguments: object, model: object = tiny_model) -> Outcome:
        words = [str(a) for a in arguments]
        status = main([*words, "--model", str(model)])
        text = capsys.readouterr().err
        return Outcome(status, text.replace(str(tmp_path), ""))

    return call


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Upscale:
    """Run any command in this process, without a model of its own."""

    def call(*arguments: object) -> Outcome:
        status = main([str(a) for a in arguments])
        return Outcome(status, capsys.readouterr().err)

    return call


@pytest.fixture(scope="session")
def command(tiny_model: str) -> Callable[..., list[str]]:
    """The words of a real command line with the tiny model."""

    def build(*arguments: object) -> list[str]:
        words = [str(a) for a in arguments]
        return [sys.executable, "-m", "infer", *words, "--model", tiny_model]

    return build


@pytest.fixture
def field() -> Callable[[str], str]:
    """Path of a file like those that people report."""
    return lambda name: str(DATA / "field" / name)


@pytest.fixture
def hostile() -> Callable[[str], str]:
    """Path of a hostile file."""
    return lambda name: str(DATA / "hostile" / name)
