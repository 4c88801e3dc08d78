"""The benchmark counts what a frame costs, and the models stay within their budgets."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sdvsr_jax import nano, stream_diffvsr
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.flops import count, frame_flops

ROOT = Path(__file__).parents[1]


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


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """A process of its own, compiled as for a user."""
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    line = [sys.executable, "-m", "benchmarks", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=900, env=plain, cwd=ROOT)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("model", "size", "least_parameters"), [("nano", "32x16", 1.5e6), ("stream_diffvsr", "64x64", 687.3e6)]
)
def test_every_preset_really_runs_and_the_benchmark_says_how(
    model: str, size: str, least_parameters: float, tmp_path: Path
) -> None:
    target, picture = tmp_path / "rows.json", tmp_path / "plot.png"
    words = ("--models", model, "--sizes", size, "--frames", 1, "--json", target, "--plot", picture)
    out = command(*words, *(["--media"] if model == "nano" else []))
    assert out.returncode == 0, out.stderr
    found = json.loads(target.read_text("utf-8"))
    (row,) = found["rows"]
    assert f"| {model} | {size} -> " in out.stdout
    assert row["finite"]
    assert row["params_bytes"] >= 4 * least_parameters
    assert min(row["median_ms"], row["temp_bytes"], row["tflop"], row["share_of_matmul"]) > 0
    # What is kept is faster than what is not: tracing and compiling are saved one after the other.
    assert row["compile_exported_s"] < row["compile_warm_s"] < row["compile_cold_s"]
    assert found["ceilings"]["copy_gb_s"] > 0
    assert (model != "nano") or row["media_frames_per_s"] > 0
    with Image.open(picture) as image:
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 3


@pytest.mark.heavy
def test_parts_sizes_and_streams_of_nano(tmp_path: Path) -> None:
    small = ("--sizes", "32x16", "--frames", 2, "--json", tmp_path / "found.json")

    def found(*words: object) -> dict:
        out = command(*words)
        assert out.returncode == 0, out.stderr
        return json.loads((tmp_path / "found.json").read_text("utf-8"))

    (parts,) = found("parts", *small)["parts"].values()
    whole, step_gflop = parts[-1], frame_flops(nano(), 32, 16) / 1e9
    assert whole["part"] == "whole step"
    assert whole["gflop"] == pytest.approx(step_gflop)
    # The flow network's features are part of two rows, and back-projection is part of decoding.
    again = sum(row["gflop"] for row in parts if row["part"] in ("flow features", "of which back-projection"))
    assert sum(row["gflop"] for row in parts[:-1]) - again == pytest.approx(step_gflop, rel=0.01)

    (rows,) = found("streams", *small, "--batches", 1, 3)["streams"].values()
    assert [row["streams"] for row in rows] == [1, 3]
    # Streams came and went with every frame: one program per batch size.
    assert all(row["programs"] == 1 for row in rows)

    (rows,) = found("sizes", *small, "--seconds", 0.001)["sizes"].values()
    assert rows[0]["LR"] == "160x90"

    (rows,) = found("bargains", *small)["bargains"].values()
    tflop = {row["bargain"]: row["tflop"] for row in rows}
    assert tflop["1 step"] < tflop["2 steps"] < tflop["exact"] == tflop["bfloat16"]
    assert tflop["guidance of the first step for all"] < tflop["exact"]


BLOCKED = ("av", "grain", "tensorflow_datasets", "orbax", "torch", "tyro", "rich", "PIL", "huggingface_hub")


@pytest.mark.heavy
def test_the_command_for_a_gpu_runs_with_little_installed_and_keeps_its_time(tmp_path: Path) -> None:
    target = tmp_path / "gpu.json"
    # Packages that a rented machine may lack cannot be imported in any stage.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {BLOCKED!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    plain["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    line = [
        sys.executable,
        "-m",
        "benchmarks",
        "gpu",
        "--sizes",
        "32x16",
        "--seconds",
        "120",
        "--json",
        str(target),
    ]
    line += ["--stages", "nano", "torch_nano", "nano_streams"]
    started = time.monotonic()
    out = subprocess.run(line, capture_output=True, text=True, timeout=600, env=plain, cwd=ROOT)
    assert out.returncode == 0, out.stderr
    assert time.monotonic() - started < 150
    found = json.loads(target.read_text("utf-8"))
    assert found["nano"]["rows"][0]["median_ms"] > 0
    assert found["nano"].get("error") is None
    assert found["torch_nano"]["error"] == "exit status 1"
    assert "PyTorch is not installed" in out.stderr
    last = found["nano_streams"]
    assert "streams" in last or "stopped" in last["error"] or "no time" in last["error"]


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
def test_nano_in_pytorch_gives_the_same_frame() -> None:
    pytest.importorskip("torch")
    from benchmarks import compare

    rows = {row["run"]: row for row in compare.measure("nano", 48, 32, ["eager float32"], 1)}
    assert rows["PyTorch eager float32"]["error"] < 1e-4
    assert rows["PyTorch eager float32"]["median_ms"] > 0
