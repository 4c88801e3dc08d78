"""Weights go from layout to layout and back unchanged, by the command."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from infer.__main__ import main
from sdvsr_jax import load, save
from tests.tiny_models import random_params, tiny_published


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ours.safetensors"
    save(path, tiny_published(), random_params(tiny_published()))
    return path


def test_export_and_convert_back_give_the_same_bits(ours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    back = tmp_path / "back.safetensors"
    status = main(["export", "--model", str(ours), "--output", str(folder)])
    assert status == 0
    status = main(["convert", "--model", str(folder), "-o", str(back)])
    assert status == 0
    (config, before) = load(str(ours))
    (config_back, after) = load(str(back))
    assert config == config_back
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after))
    names = sorted(f.name for f in tmp_path.iterdir())
    assert names == [
        "back.safetensors",
        "published",
    ]


def test_an_existing_output_is_kept(
    ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "kept.safetensors"
    target.write_bytes(b"mine")
    status = main(["convert", "--model", str(ours), "--output", str(target)])
    assert status != 0
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert target.read_bytes() == b"mine"
    status = main(
        ["convert", "--model", str(ours), "--output", str(target), "--overwrite"]
    )
    assert status == 0
    # The output was replaced by a whole one.
    assert load(str(target))[0] == tiny_published()
    # Weights of another package are read without it.
    assert "torch" not in sys.modules
