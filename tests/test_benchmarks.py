"""The benchmark counts what a frame costs, and the models stay within their budgets."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sdvsr_jax import nano, stream_diffvsr
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.flops import count, frame_flops


def test_a_product_and_a_convolution_are_counted_exactly_and_loops_by_their_length() -> None:
    a, b = jnp.zeros((3, 5)), jnp.zeros((5, 7))
    assert count(jnp.matmul, a, b) == 2 * 3 * 5 * 7

    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda c, _: (jax.jit(lambda y: y @ b @ b.T)(c), None), x, None, length=4)[0]

    assert count(looped, a) == 4 * 2 * (2 * 3 * 5 * 7)
    image, kernel = jnp.zeros((1, 8, 6, 3)), jnp.zeros((3, 3, 3, 4))

    def conv(x: jax.Array) -> jax.Array:
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=dims)

    assert count(conv, image) == 2 * (4 * 3) * (3 * 3 * 3 * 4)


def test_nano_stays_within_its_budget() -> None:
    assert frame_flops(nano(), 320, 180) <= 90e9


@pytest.mark.heavy
def test_the_full_model_costs_what_the_published_one_does_less_what_is_done_once() -> None:
    """24.677 TFLOP as published; 0.825 condition embedding, 0.140 mask head, 0.125 previous frame's feature map,
    0.030 prompt keys and values, 0.001 unused last encoder layer are saved, 0.953 by sub-pixel convolutions."""
    config = dataclasses.replace(stream_diffvsr(), flow=RAFTConfig(correlation="volume"))
    assert frame_flops(config, 320, 180) / 1e12 == pytest.approx(24.677 - 1.121 - 0.953, rel=0.006)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("model", "size", "least_parameters"), [("nano", "32x16", 1.5e6), ("stream_diffvsr", "64x64", 687.3e6)]
)
def test_every_preset_really_runs_and_the_benchmark_says_how(
    model: str, size: str, least_parameters: float, tmp_path: Path
) -> None:
    target = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks", "--models", model, "--sizes", size, "--frames", "1"]
    # A process of its own, compiled as for a user.
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    out = subprocess.run([*command, "--json", str(target)], capture_output=True, text=True, timeout=900, env=plain)
    assert out.returncode == 0, out.stderr
    (row,) = json.loads(target.read_text("utf-8"))
    assert f"| {model} | {size} -> " in out.stdout
    assert row["finite"]
    assert row["params_bytes"] >= 4 * least_parameters
    assert min(row["median_ms"], row["temp_bytes"], row["gflop"]) > 0
