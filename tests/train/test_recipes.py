"""Recipes run from their own configs: the released ones (published layout at toy width,
with GAN) and smoke.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import init_state, step
from sdvsr_jax import prepare as prepare_params
from sdvsr_jax.weights import load as checkpoint
from tests.tiny_models import random_params, tiny_published
from tests.train.conftest import moving_texture
from train import prepare
from train.__main__ import main
from train.chain import read_log
from train.selection import flatten


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("published") / "tiny.safetensors"
    checkpoint.save(path, tiny_published(), random_params(tiny_published()))
    return str(path)


@pytest.mark.parametrize(
    ("name", "moved", "ratio_at"),
    [
        pytest.param(
            "official_stage1",
            "unet/",
            "unet/conv_out/kernel",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "official_stage2",
            "vae/decoder/",
            "vae/decoder/layers_2/temporal_processor_2/kernel",
            marks=pytest.mark.nightly,
        ),
        # The last stage unrolls the stream and has the critic: it stands for all.
        pytest.param(
            "official_stage3",
            "controlnet/",
            "controlnet/controlnet_mid_block/kernel",
            marks=pytest.mark.heavy(50),
        ),
    ],
)
def test_a_released_recipe_trains(name, moved, ratio_at, published, tmp_path):
    windows = tmp_path / "windows.npy"
    np.save(windows, np.stack([moving_texture(2, 128, 128, seed) for seed in range(4)]))
    small = [
        "--data.path",
        str(windows),
        "--data.crop",
        "32",
        "--data.batch-size",
        "2",
        "--steps",
        "2",
    ]
    # AlexNet's weights are not shipped
    words = [
        "--loss.perceptual-net",
        "squeeze",
        "--loss.gan.start",
        "0",
        "--loss.gan.gate",
        "0",
        "--log-every",
        "1",
    ]
    words += [
        "--loss.gan.ratio-at",
        ratio_at,
    ]  # the toy decoder's layers have other numbers
    quick = [
        "--optimizer.warmup",
        "0",
        "--loss.gan.every",
        "1",
        "--validation-windows",
        "0",
    ]
    assert (
        main(
            [
                f"--config={name}",
                "--init",
                published,
                "--out",
                str(tmp_path),
                *small,
                *words,
                *quick,
            ]
        )
        == 0
    )
    log = read_log(tmp_path, "train")
    assert len(log) == 2
    assert all(
        np.isfinite(value)
        for record in log
        for value in record.values()
        if isinstance(value, float)
    )
    assert {"critic"} <= set(log[-1])
    before, after = (
        flatten(checkpoint.load(str(p))[1])
        for p in (published, tmp_path / "weights.safetensors")
    )
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed
    assert all(path.startswith(moved) for path in changed)


@pytest.mark.heavy(110)
def test_smoke_goes_from_clips_to_weights_that_run(source, tmp_path):
    data, runs = tmp_path / "data", tmp_path / "runs"
    assert (
        prepare.main(
            [str(source), "--out", str(data), "--min-side", "64", "--shrink", "1"]
        )
        == 0
    )
    # bfloat16: the other precision of training is run here once
    options = [
        "--data.path",
        str(data),
        "--out",
        str(runs),
        "--compute-dtype",
        "bfloat16",
    ]
    assert main(["--config=smoke", *options]) == 0
    kinds = {
        record["kind"]
        for record in read_log(runs, "train") + read_log(runs, "validation")
    }
    assert kinds == {"train", "validation"}
    curve = json.loads((runs / "drift.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(curve["psnr"]).all()
    config, params = checkpoint.load(str(runs / "weights.safetensors"))
    before = flatten(checkpoint.load(str(runs / "start.safetensors"))[1])
    assert any(
        not np.array_equal(value, before[path])
        for path, value in flatten(params).items()
    )
    state = init_state(config, 1, 24, 32)
    _, sr = step(
        prepare_params(params, config), state, jnp.zeros((1, 24, 32, 3)), config=config
    )
    assert np.isfinite(sr).all()
