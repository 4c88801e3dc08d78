"""Weights in and out: names, files, folders; wrong ones are refused in one line."""

import json
import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdvsr_jax import ModelConfig, load, nano, save
from sdvsr_jax.types import Params
from sdvsr_jax.weights import diffusers_layout as published
from sdvsr_jax.weights.load import shipped
from tests.tiny_models import TINY, random_params, tiny_nano, tiny_published

Model = tuple[ModelConfig, Params]


def random_model(form: str) -> Model:
    config = TINY[form]()
    return config, random_params(config)


def assert_equal(one: Model, other: Model) -> None:
    config, params = one
    other_config, other_params = other
    assert config == other_config
    assert jax.tree.structure(params) == jax.tree.structure(other_params)
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(other_params))
    for a, b in pairs:
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("form", TINY)
def test_our_file_round_trips_bit_for_bit(form: str, tmp_path: Path) -> None:
    model = random_model(form)
    path = tmp_path / "model.safetensors"
    save(path, *model, command="python -m train")
    assert_equal(load(str(path)), model)
    # nothing is left beside it
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", TINY)
def test_export_to_the_published_layout_round_trips_bit_for_bit(
    form: str, tmp_path: Path
) -> None:
    model = random_model(form)
    published.write(tmp_path, *model)
    assert_equal(load(str(tmp_path)), model)


def test_the_diffusers_configs_alone_describe_a_published_model(tmp_path: Path) -> None:
    config = tiny_published()
    published.write(tmp_path, config, random_params(config))
    (tmp_path / published.OUR_CONFIG).unlink()
    read_back = published.read_config(tmp_path)
    for part in ("unet", "guidance", "vae", "quirks", "diffusion"):
        assert getattr(read_back, part) == getattr(config, part)


def test_the_default_model_is_shipped_small_and_verified() -> None:
    config, params = load()
    assert config.name == "nano"
    assert config.unet == nano().unet
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    # they come with the package
    assert size < 12e6
    assert "nano" in shipped()


def test_flow_weights_may_come_from_elsewhere(tmp_path: Path) -> None:
    model = random_model("published")
    folder = tmp_path / "model"
    published.write(folder, *model)
    elsewhere = tmp_path / "raft.safetensors"
    (folder / published.FLOW_FILE).rename(elsewhere)
    with pytest.raises(ValueError, match=r"raft_large.*missing.*--flow-weights"):
        load(str(folder))
    assert_equal(load(str(folder), flow_weights=elsewhere), model)


def wrong_extra(folder: Path) -> None:
    path = folder / "unet" / published.WEIGHTS
    extra = {"extra": np.zeros(1, np.float32)}
    save_file(load_file(path) | extra, path)


def wrong_truncated(folder: Path) -> None:
    path = folder / "vae" / published.WEIGHTS
    data = path.read_bytes()
    path.write_bytes(data[:500])


def wrong_json(folder: Path) -> None:
    (folder / published.OUR_CONFIG).write_text("{", "utf-8")


def wrong_prediction(folder: Path) -> None:
    (folder / published.OUR_CONFIG).unlink()
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["prediction_type"] = "epsilon"
    path.write_text(json.dumps(config), "utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (wrong_extra, "unet .*1 unexpected .extra."),
        (wrong_truncated, "vae.*not a readable safetensors file"),
        (wrong_json, "sdvsr_config.json: not JSON"),
        (wrong_prediction, "prediction_type is 'epsilon', expected 'v_prediction'"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(
    damage, message: str, tmp_path: Path
) -> None:
    published.write(tmp_path, *random_model("published"))
    damage(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_file_with_missing_and_misshaped_parameters_lists_them(
    tmp_path: Path,
) -> None:
    config = tiny_nano()
    params = random_params(config)
    params["unet"]["conv_in"]["bias"] = np.zeros(3, np.float32)
    del params["vae"]["decoder"]["layers_0"]
    path = tmp_path / "m.safetensors"
    save(path, config, params)
    # a kernel and a bias are missing
    words = r"2 missing .vae/decoder/layers_0/bias.*unet/conv_in/bias is .3., expec"
    with pytest.raises(ValueError, match=words):
        load(str(path))


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    data = pickle.dumps({"weight": 1})
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"pickles run code"):
        load(str(path))


@pytest.mark.parametrize("model", ["nanoo", "missing/folder/deep", "x.safetensors"])
def test_an_unknown_model_is_one_clear_line(model: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of .'nano'.*hub id"):
        load(model)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(1, np.float32)}, path)
    with pytest.raises(ValueError, match=r"no model config in its metadata"):
        load(str(path))
