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
    ("name", "part", "ratio_at"),
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
def test_a_released_recipe_trains(name, part, ratio_at, published, tmp_path):
    path = tmp_path / "windows.npy"
    windows = [moving_texture(2, 128, 128, seed) for seed in range(4)]
    np.save(path, np.stack(windows))
    files = ["--data.path", str(path), "--init", published, "--out", str(tmp_path)]
    small = ["--data.crop=32", "--data.batch-size=2", "--steps=2"]
    # AlexNet's weights are not shipped; the toy decoder's layers have other numbers
    losses = ["--loss.perceptual-net", "squeeze", "--loss.gan.ratio-at", ratio_at]
    # all parts of the loss from the first step on
    critic = ["--loss.gan.start=0", "--loss.gan.gate=0", "--loss.gan.every=1"]
    quick = ["--optimizer.warmup=0", "--validation-windows=0", "--log-every=1"]
    words = [f"--config={name}", *files, *small, *losses, *critic, *quick]
    assert main(words) == 0
    log = read_log(tmp_path, "train")
    assert len(log) == 2
    for record in log:
        # a number that is not finite is written as null
        assert None not in record.values(), record
    assert "critic" in log[-1]
    before = weights(published)
    after = weights(tmp_path / "weights.safetensors")
    differences = differing(before, after)
    assert differences
    for path in differences:
        assert path.startswith(part)


def weights(path) -> dict:
    """The parameters in a file by their paths."""
    _, params = checkpoint.load(str(path))
    return flatten(params)


def differing(one: dict, other: dict) -> list[str]:
    """Paths of the parameters whose values are not the same."""
    return [path for path in one if not np.array_equal(one[path], other[path])]


@pytest.mark.heavy(110)
def test_smoke_goes_from_clips_to_weights_that_run(source, tmp_path):
    data = tmp_path / "data"
    runs = tmp_path / "runs"
    small = ["--min-side", "64", "--shrink", "1"]
    assert prepare.main([str(source), "--out", str(data), *small]) == 0
    files = ["--data.path", str(data), "--out", str(runs)]
    # bfloat16: the other precision of training is run here once
    assert main(["--config=smoke", *files, "--compute-dtype", "bfloat16"]) == 0
    assert read_log(runs, "train")
    assert read_log(runs, "validation")
    curves = (runs / "drift.jsonl").read_text().splitlines()
    last = json.loads(curves[-1])
    assert np.isfinite(last["psnr"]).all()
    before = weights(runs / "start.safetensors")
    after = weights(runs / "weights.safetensors")
    assert differing(before, after)
    config, params = checkpoint.load(str(runs / "weights.safetensors"))
    prepared = prepare_params(params, config)
    state = init_state(config, 1, 24, 32)
    frame = jnp.zeros((1, 24, 32, 3))
    _, sr = step(prepared, state, frame, config=config)
    assert np.isfinite(sr).all()
