"""The mapping to state dicts is strict, complete and invertible."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from sdvsr_jax import nano, stream_diffvsr
from sdvsr_jax.config import from_dict, to_dict
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.weights.torch_names import (
    MAX_LISTED,
    from_torch,
    is_ignored,
    to_torch,
    torch_key,
)
from tests.tiny_models import TINY, random_params, tiny_nano, tiny_published

NETWORKS = ("unet", "controlnet", "vae", "flow")


@pytest.mark.parametrize("form", TINY)
def test_a_round_trip_is_bit_identical(form: str) -> None:
    params = random_params(TINY[form]())
    for name in NETWORKS:
        tree = params[name]
        back = from_torch(to_torch(tree), tree, name)
        assert jax.tree.structure(back) == jax.tree.structure(tree)
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(back))
        for a, b in pairs:
            assert a.shape == b.shape
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("form", TINY)
def test_keys_are_unique_and_never_on_the_ignore_list(form: str) -> None:
    shapes = abstract_params(TINY[form]())
    for name in NETWORKS:
        keys = [torch_key(path) for path in flatten_dict(shapes[name])]
        assert len(set(keys)) == len(keys)
        assert not any(is_ignored(key) for key in keys)


def test_layouts_are_torchs() -> None:
    state = to_torch(random_params(tiny_published())["unet"])
    # outputs first; the inputs are four latents and three colours
    assert state["conv_in.weight"].shape == (8, 7, 3, 3)
    assert state["time_embedding.linear_1.weight"].shape == (32, 8)
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    assert state[f"{block}.attn2.to_k.weight"].shape == (8, 8)
    # diffusers' numbered lists
    assert f"{block}.ff.net.0.proj.weight" in state
    assert state["mid_block.resnets.0.norm1.weight"].shape == (16,)


def test_all_faults_are_reported_together() -> None:
    params = random_params(tiny_nano())["unet"]
    state = to_torch(params)
    del state["conv_in.bias"]
    state["stray.weight"] = np.zeros(1, np.float32)
    state["conv_out.bias"] = np.zeros(3, np.float32)
    words = r"1 missing .conv_in.bias.*1 unexpected .stray.weight.*conv_out.bias is .3."
    with pytest.raises(ValueError, match=words):
        from_torch(state, params, "unet")


def test_long_fault_lists_are_cut_with_a_count() -> None:
    params = random_params(tiny_nano())["unet"]
    num_missing = len(flatten_dict(params))
    rest = num_missing - MAX_LISTED
    with pytest.raises(ValueError, match=rf"and {rest} more"):
        from_torch({}, params, "unet")


def test_keys_that_carry_nothing_are_ignored_by_name() -> None:
    params = random_params(tiny_nano())["unet"]
    state = to_torch(params)
    state["class_embedding.weight"] = np.zeros((2, 2), np.float32)
    back = from_torch(state, params, "unet")
    assert jax.tree.structure(back) == jax.tree.structure(params)


def test_half_precision_sources_become_float32() -> None:
    params = random_params(tiny_nano())["unet"]
    state = to_torch(params)
    halves = {key: value.astype(np.float16) for key, value in state.items()}
    back = from_torch(halves, params, "unet")
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(back)}
    assert dtypes == {np.dtype(np.float32)}


def test_config_survives_json() -> None:
    # a name that is no preset's
    renamed = dataclasses.replace(tiny_nano(), name="x")
    for config in (nano(), stream_diffvsr(), TINY["restored"](), renamed):
        text = json.dumps(to_dict(config))
        data = json.loads(text)
        assert from_dict(data) == config


def test_fields_of_earlier_versions_are_passed_over() -> None:
    """Weight files made before still load: the fields were switches for the speed."""
    data = to_dict(stream_diffvsr())
    data |= {"guide_once": False, "quantized": "none"}
    data["flow"]["resolution"] = "sr"
    assert from_dict(data) == stream_diffvsr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": "4"}, "config.scale: found '4'"),
        ({"speed": 1}, "unknown fields .'speed'."),
        (
            {"flow": {"kind": "lucas"}},
            "config.flow.kind: found 'lucas', expected one of",
        ),
        ({"unet": {"norm": "batch"}}, "config.unet.norm: found 'batch'"),
        ({"unet": 3}, "config.unet: found 3"),
        ({"unet": {"patch": 2}}, "reduced 4x, expected scale.patch = 8"),
    ],
)
def test_a_wrong_config_is_refused_with_its_path(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict({"name": "x"} | change)
