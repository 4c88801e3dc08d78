"""The benchmark counts what a frame costs, and the models stay within their budgets."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.flops import count, frame_flops
from sdvsr_jax import nano, stream_diffvsr
from sdvsr_jax.config import RAFTConfig


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
    0.030 prompt keys and values, 0.001 unused last encoder layer are saved."""
    config = dataclasses.replace(stream_diffvsr(), flow=RAFTConfig(correlation="volume"))
    assert frame_flops(config, 320, 180) / 1e12 == pytest.approx(24.677 - 1.121, rel=0.01)


@pytest.mark.heavy
def test_the_benchmark_prints_its_table_and_keeps_its_numbers(tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks", "--sizes", "32x16", "--frames", "2", "--json", str(target)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    (row,) = json.loads(target.read_text("utf-8"))
    assert "| nano | 32x16 -> 128x64 |" in out.stdout
    assert row["median_ms"] > 0
    assert row["temp_bytes"] > 0
