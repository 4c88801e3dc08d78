"""The benchmark counts what a frame costs, and the models stay within their budgets."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from PIL import Image

from benchmarks import (
    absent,
    arithmetic,
    bargains,
    clock,
    latency,
    parts,
    precisions,
    profile,
    report,
    sweeps,
    xla_options,
)
from benchmarks.__main__ import main as command
from sdvsr_jax import nano, stream_diffvsr
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.flops import count, frame_flops


def test_a_product_and_a_convolution_are_counted_exactly_and_loops_by_their_length() -> (
    None
):
    a, b = jnp.zeros((3, 5)), jnp.zeros((5, 7))
    assert count(jnp.matmul, a, b) == 2 * 3 * 5 * 7

    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.scan(
            lambda c, _: (jax.jit(lambda y: y @ b @ b.T)(c), None), x, None, length=4
        )[0]

    assert count(looped, a) == 4 * 2 * (2 * 3 * 5 * 7)
    image, kernel = jnp.zeros((1, 8, 6, 3)), jnp.zeros((3, 3, 3, 4))

    def conv(x: jax.Array) -> jax.Array:
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=dims
        )

    assert count(conv, image) == 2 * (4 * 3) * (3 * 3 * 3 * 4)


def test_nano_stays_within_its_budget() -> None:
    assert frame_flops(nano(), 320, 180) <= 90e9


@pytest.mark.heavy
def test_the_full_model_costs_what_the_published_one_does_less_what_is_done_once() -> (
    None
):
    """24.677 TFLOP as published; 0.825 condition embedding, 0.140 mask head, 0.125
    previous frame's feature map, 0.030 prompt keys and values, 0.001 unused last
    encoder layer are saved, 0.953 by sub-pixel convolutions, 0.156 by one convolution
    of the GRU's context for all updates.
    """
    config = dataclasses.replace(
        stream_diffvsr(), flow=RAFTConfig(correlation="volume")
    )
    assert frame_flops(config, 320, 180) / 1e12 == pytest.approx(
        24.677 - 1.121 - 0.953 - 0.156, rel=0.006
    )


def test_every_part_of_a_frame_is_there_and_their_arithmetic_adds_up() -> None:
    config, params = tiny_models.tiny("nano")
    split = parts.split(config, params, 36, 32)
    work = {
        name: part.calls * count(part.run, *part.arguments)
        for name, part in split.items()
    }
    whole = work.pop("whole step")
    del work["flow network"]  # counted again with the warp
    assert sum(work.values()) == whole
    assert min(work[name] for name in work if name != "bicubic") > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16+int8"])
def test_convolutions_and_products_alone_are_those_of_a_frame(precision: str) -> None:
    config = precisions.in_precision(tiny_models.tiny("nano")[0], precision)
    found = arithmetic.operations(config, 20, 16)
    assert sum(o.calls * o.flop for o in found) == frame_flops(config, 20, 16)
    work = [o.calls * o.flop for o in found]
    assert work == sorted(work, reverse=True)
    rows = arithmetic.measure(config, 20, 16, 2, {"float32": 1e9}, most=2)
    assert [row["operation"] for row in rows] == [o.name for o in found[:2]]
    for row, operation in zip(rows, found):
        assert row["ms"] * row["alone"] == pytest.approx(
            operation.calls * operation.flop / 1e9
        )


def test_streams_join_and_leave_without_another_program() -> None:
    config, params = tiny_models.tiny("nano")
    points = sweeps.streams(config, [1, 3], 20, 16, 2, params)
    assert [(p["batch"], p["compiled_again"]) for p in points] == [(1, 0), (3, 0)]


def test_a_linear_law_has_exponent_one_and_a_quadratic_one_two() -> None:
    for power in (1, 2):
        points = [{"pixels": n, "median_ms": 3e-4 * n**power} for n in (100, 400, 1600)]
        assert sweeps.exponent(points) == pytest.approx(power)


def test_a_program_from_a_warm_cache_is_ready_sooner_and_an_exported_one_as_well() -> (
    None
):
    config, params = tiny_models.tiny("nano")
    row = latency.measure(config, 20, 16, 2, {"float32": 1e9}, params=params)
    assert max(row["compile_warm_s"], row["compile_exported_s"]) < row["compile_s"]
    assert row["finite"]
    assert row["share_of_peak"] == pytest.approx(row["gflop"] * row["frames_per_s"])
    # XLA counts element-wise work too, and pads less: the two counts are near each
    # other.
    assert row["gflop"] == pytest.approx(row["xla_gflop"], rel=0.25)


def test_options_of_the_compiler_are_tried_and_one_that_is_refused_stops_nothing() -> (
    None
):
    config, params = tiny_models.tiny("nano")
    tried, kept = (
        {"no such": {"xla_no_such_option": "1"}} | xla_options.known_sets(),
        [],
    )
    rows = xla_options.measure(
        config,
        20,
        16,
        2,
        tried,
        params=params,
        keep=lambda rows: kept.append(len(rows)),
    )
    assert "xla_no_such_option" in rows[0]["refused"]
    assert kept == list(range(1, len(tried) + 1))
    measured = [row for row in rows if "refused" not in row]
    assert measured
    assert max(row["error"] for row in measured) < 1e-4
    assert min(row["of plain"] for row in measured) > 0


@pytest.mark.parametrize(
    "options", xla_options.GPU_ALONE.values(), ids=list(xla_options.GPU_ALONE)
)
def test_the_options_to_try_on_a_gpu_have_values_that_xla_takes(
    options: xla_options.Options,
) -> None:
    """A version of XLA may lack one of them (and says so), but none has a value of the
    wrong type.
    """
    refused = ""
    try:
        jax.jit(jnp.sin, compiler_options=dict(options)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError as error:
        refused = str(error)
    assert not refused or "No such compile option" in refused


def test_the_profile_has_every_operation_by_its_source() -> None:
    def looped(x: jax.Array) -> jax.Array:
        dims = ("NHWC", "HWIO", "NHWC")

        def conv(c, _):
            return (
                jax.lax.conv_general_dilated(
                    c, kernel, (1, 1), "SAME", dimension_numbers=dims
                ),
                None,
            )

        return jax.lax.scan(conv, x, None, length=5)[0]

    kernel = jnp.ones((3, 3, 8, 8)) / 72
    program = jax.jit(looped).lower(jnp.ones((1, 64, 64, 8))).compile()
    spent, frames = [], 4

    def frame() -> None:
        spent.append(
            clock.seconds(
                lambda: program(jnp.ones((1, 64, 64, 8)))[0].block_until_ready()
            )
        )

    found = profile.operations(program, frame, frames)
    convolutions = [o for o in found if profile.primitive(o) == "conv_general_dilated"]
    assert sum(o.calls for o in convolutions) == 5
    assert 0 < sum(o.seconds for o in convolutions) < sum(spent) / frames
    assert [o.seconds for o in found] == sorted(
        (o.seconds for o in found), reverse=True
    )
    assert "| conv_general_dilated | 5 |" in profile.table(found, 1.0)


def test_kernels_in_a_loop_count_as_often_as_it_turns() -> None:
    def text(length: int) -> str:
        def looped(x):
            return jax.lax.scan(
                lambda c, _: (jnp.sin(c @ c), None), x, None, length=length
            )[0]

        return jax.jit(looped).lower(jnp.ones((8, 8))).compile().as_text() or ""

    few, more, most = (
        sum(absent.kernels(text(length)).values()) for length in (3, 5, 9)
    )
    assert most - more == 2 * (more - few) > 0


def test_without_the_compiler_of_a_gpu_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if importlib.util.find_spec("jax_plugins") is not None:
        pytest.skip("JAX has plugins here")
    assert command(["compile"]) == 1
    assert "pip install 'jax[cuda12]'" in capsys.readouterr().out


def test_results_become_one_table_files_and_a_picture(tmp_path: Path) -> None:
    row = {
        "what": "sdvsr_jax",
        "model": "nano",
        "lr": [320, 180],
        "precision": "float32",
        "median_ms": 750.0,
    }
    other = row | {"what": "torch eager", "median_ms": 900.0, "error": 1e-6}
    found = {
        "rows": [row, other],
        "machine": {"device": "cpu"},
        "peaks": {"float32": 1e11},
        "streams": {},
        "sizes": {
            "nano": [{"pixels": 9, "median_ms": 1.0}, {"pixels": 18, "median_ms": 2.0}]
        },
        "parts": {},
    }
    report.finish(tmp_path, found)
    assert (
        "| torch eager | nano | 320x180 -> 1280x720 | float32 | 900 | 1.0e-06 |"
        in report.table(found["rows"])
    )
    assert json.loads((tmp_path / "results.json").read_text("utf-8")) == found
    with Image.open(tmp_path / "results.png") as picture:
        assert picture.size == (920, 300)


def test_skipping_shows_the_last_result_of_a_frame_that_hardly_changes() -> None:
    frames = np.zeros((5, 16, 24, 3), np.uint8)
    frames[1] += 1
    frames[2:, :8, :8] = 90  # a block
    frames[4] = 200
    assert bargains.not_skipped(frames) == [0, 0, 2, 2, 4]


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(["raws"])
    assert (
        "unknown raws: expected some of rows, torch, start" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit, match="2"):
        command(["rows", "--frames", "0"])


@pytest.mark.heavy(50)
@pytest.mark.parametrize(
    ("model", "size", "least_parameters"),
    [("nano", "32x16", 1.5e6), ("stream_diffvsr", "32x32", 687.3e6)],
)
def test_every_preset_really_runs_and_the_benchmark_says_how(
    model: str, size: str, least_parameters: float, tmp_path: Path
) -> None:
    rest = [
        "--models",
        model,
        "--sizes",
        size,
        "--frames",
        "1",
        "--no-compiles",
        "--out",
        str(tmp_path),
    ]
    out = run_alone([sys.executable, "-m", "benchmarks", "rows", *rest])
    (row,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["rows"]
    assert f"| sdvsr_jax | {model} | {size} -> " in out
    assert row["finite"]
    assert row["params_bytes"] >= 4 * least_parameters
    assert min(row["median_ms"], row["temp_bytes"], row["gflop"]) > 0


BLOCK = """
from importlib.machinery import PathFinder

BLOCKED = {"av", "beartype", "diffusers", "grain", "huggingface_hub", "jaxtyping", "orbax", "PIL",
           "safetensors", "tensorflow_datasets", "torch", "torchvision", "tyro"}
found = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in BLOCKED else found(name, path, target)

PathFinder.find_spec = find_spec
"""


@pytest.mark.heavy(50)
def test_the_gpu_command_needs_little_more_than_jax_and_flax(tmp_path: Path) -> None:
    """As on a lent machine: no media, no weight files, no annotations, no PyTorch; here
    at toy size on the CPU.
    """
    # Python reads this at its start, in the processes of the pieces as well.
    (tmp_path / "sitecustomize.py").write_text(BLOCK, "utf-8")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    options = [
        "--model",
        "nano",
        "--size",
        "32x16",
        "--pieces",
        "target",
        "eager",
        "parts",
    ]
    out = run_alone(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "gpu",
            *options,
            "--out",
            str(tmp_path / "out"),
        ],
        PYTHONPATH=path,
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert results["not_measured"] == []
    (row,) = results["rows"]
    assert (row["what"], row["precision"], row["finite"]) == (
        "sdvsr_jax",
        "bfloat16",
        True,
    )
    assert any(
        source.endswith("conv_general_dilated") for _, source, _, _ in row["operations"]
    )
    assert set(results["parts"]) == {"nano bfloat16"}
    assert "not compared: torch" in out
    assert "no plot: Pillow is not installed" in out


def run_alone(words: list[str], **surroundings: str) -> str:
    """Its output, from a process compiled as for a user."""
    plain = {
        name: value for name, value in os.environ.items() if name != "XLA_FLAGS"
    } | surroundings
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, env=plain)
    assert done.returncode == 0, done.stderr
    return done.stdout
