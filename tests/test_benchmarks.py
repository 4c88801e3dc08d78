"""The benchmarks at toy size on this machine."""

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

from benchmarks import against, clock, compile, frame, gpu, profile, report, runtimes
from benchmarks.__main__ import PIECES, build_parser
from benchmarks.__main__ import main as command
from benchmarks.inputs import random_params

ROOT = Path(__file__).parents[1]
# A round figure, so that a share of it is a rate in GFLOP/s.
PEAKS = {"float32": 1e9}
LR = report.Size(20, 16)


def test_forms_of_a_model_take_turns() -> None:
    config, params = tiny_models.tiny("nano")
    forms = [frame.Form(config), frame.Form(config, batch=2)]
    rows = frame.measure(forms, LR, 2, PEAKS, params=params)
    assert [row["batch"] for row in rows] == [1, 2]
    for row in rows:
        assert row["finite"]
        # Both figures are of the same frames; the peak here is 1 GFLOP/s.
        rate = row["gflop"] * row["frames_per_s"] / row["batch"]
        assert row["share_of_peak"] == pytest.approx(rate)


def test_another_implementation_is_judged_by_its_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, _ = tiny_models.tiny("nano")
    raw = random_params(config)
    right = runtimes.ours(config, raw, LR).outputs

    def shown(frames: list[np.ndarray]) -> runtimes.Stream:
        return runtimes.Stream(lambda index: frames[index % len(frames)])

    def refuse(lr: report.Size) -> runtimes.Stream:
        raise RuntimeError(f"no such\noperator for {lr.width}x{lr.height}")

    frames = {"same": right, "wrong": [0 * frame for frame in right]}
    monkeypatch.setattr(runtimes, "GRAPHS", {name: name for name in frames})
    monkeypatch.setattr(runtimes, "export", lambda *_: b"")
    monkeypatch.setattr(runtimes, "run_graph", lambda name, *_: shown(frames[name]))
    monkeypatch.setattr(runtimes, "COMPACT", {"refuses": refuse})
    rows = against.compare(config, LR, 2, modes=[], raw=raw)
    first, same, wrong, refused = rows
    assert first["error"] == same["error"] == 0
    assert same["note"] is None
    # Showing a frame that is there takes less time than computing it.
    assert same["of_ours"] < 0.5
    assert wrong["error"] == 1
    assert wrong["note"] == "other frames than ours"
    assert refused["note"] == "no such operator for 20x16"


@pytest.mark.parametrize("name", ["ONNX Runtime", "OpenVINO"])
def test_the_step_with_its_state_goes_to_another_runtime(name: str) -> None:
    pytest.importorskip("jax2onnx")
    pytest.importorskip(name.replace(" ", "").lower())
    config, _ = tiny_models.tiny("nano")
    raw = random_params(config)
    ours = runtimes.ours(config, raw, LR)
    graph = runtimes.export(config, raw, LR)
    theirs = runtimes.run_graph(runtimes.GRAPHS[name], lambda: graph, config, LR)
    assert theirs.error(ours) <= against.TOLERANCE


@pytest.mark.parametrize("power", [1, 2])
def test_the_exponent_of_a_law(power: int) -> None:
    pixels = (100, 400, 1600)
    points = [{"lr": (n, 1), "median_ms": 3e-4 * n**power} for n in pixels]
    assert frame.exponent(points) == pytest.approx(power)


def test_the_profile_has_every_operation_by_its_source() -> None:
    image = jnp.ones((1, 64, 64, 8))
    kernel = jnp.ones((3, 3, 8, 8)) / 72
    layouts = ("NHWC", "HWIO", "NHWC")

    def conv(carry: jax.Array, _: None) -> tuple[jax.Array, None]:
        result = jax.lax.conv_general_dilated(
            carry, kernel, (1, 1), "SAME", dimension_numbers=layouts
        )
        return result, None

    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.scan(conv, x, None, length=5)[0]

    program = jax.jit(looped).lower(image).compile()
    spans = []
    frames = 4

    def frame_call() -> None:
        _, seconds = clock.timed(lambda: jax.block_until_ready(program(image)))
        spans.append(seconds)

    rows = profile.operations(program, frame_call, frames)
    convolutions = [row for row in rows if row.primitive == "conv_general_dilated"]
    assert sum(row.calls for row in convolutions) == 5
    assert 0 < sum(row.seconds for row in convolutions) < sum(spans) / frames
    seconds = [row.seconds for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert "| conv_general_dilated | 5 |" in profile.table(rows, 1.0)


def test_kernels_in_a_loop_count_as_often_as_it_turns() -> None:
    def body(carry: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.sin(carry @ carry), None

    def kernels(length: int) -> int:
        def looped(x: jax.Array) -> jax.Array:
            return jax.lax.scan(body, x, None, length=length)[0]

        program = jax.jit(looped).lower(jnp.ones((8, 8))).compile()
        return sum(compile.kernels(program.as_text() or "").values())

    three = kernels(3)
    five = kernels(5)
    nine = kernels(9)
    assert nine - five == 2 * (five - three) > 0


def test_without_the_compiler_of_a_gpu_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if importlib.util.find_spec("jax_plugins") is not None:
        pytest.skip("JAX has plugins here")
    assert command(["compile"]) == 1
    assert "pip install 'jax[cuda12]'" in capsys.readouterr().out


def test_results_become_one_table_and_two_files(tmp_path: Path) -> None:
    row = {
        "what": "sdvsr_jax",
        "model": "nano",
        "lr": [320, 180],
        "precision": "float32",
        "median_ms": 750.0,
    }
    other = row | {"what": "torch eager", "median_ms": 900.0, "error": 1e-6}
    machine = {"device": "cpu", "xla_flags": ""}
    results = {"rows": [row, other], "machine": machine, "peaks": {"float32": 1e11}}
    report.finish(tmp_path, results)
    line = "| torch eager | nano | 320x180 -> 1280x720 | float32 | 900 | 1.0e-06 |"
    text = (tmp_path / "results.md").read_text("utf-8")
    assert line in text
    assert "device cpu, products in float32 100 GFLOP/s" in text
    assert json.loads((tmp_path / "results.json").read_text("utf-8")) == results


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["raws"], "unknown raws: expected some of frame, against, startup"),
        (["frame", "--frames", "0"], "0: expected at least 1"),
        (["frame", "--models", "mano"], "invalid choice: 'mano'"),
    ],
)
def test_wrong_use_is_told(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(words)
    assert complaint in capsys.readouterr().err


def test_the_pieces_of_the_gpu_command_are_commands() -> None:
    parser = build_parser()
    for piece in gpu.plan(parser.parse_args(["gpu"])):
        options = parser.parse_args(piece.words.split())
        assert options.pieces[0] in PIECES
        assert piece.least < piece.limit < gpu.BUDGET_SECONDS


def test_a_size_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="expected WIDTHxHEIGHT"):
        report.size_of("320")


@pytest.mark.heavy(30)
def test_the_published_model_really_runs_at_full_width(tmp_path: Path) -> None:
    words = "frame --models stream_diffvsr --sizes 32x32 --frames 1"
    run_alone([*words.split(), "--out", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    (row,) = results["rows"]
    assert row["finite"]
    # 687.3 M parameters of the published networks, float32.
    assert row["step_bytes"] >= 4 * 687.3e6


BLOCK = """
from importlib.machinery import PathFinder

BLOCKED = {"av", "beartype", "diffusers", "grain", "huggingface_hub", "jaxtyping",
           "orbax", "PIL", "pynvml", "safetensors", "tensorflow_datasets", "torch",
           "torchvision", "tyro"}
find = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    is_blocked = name.split(".")[0] in BLOCKED
    return None if is_blocked else find(name, path, target)

PathFinder.find_spec = find_spec
"""


@pytest.mark.heavy(40)
def test_the_gpu_command_needs_little_more_than_jax_and_flax(tmp_path: Path) -> None:
    """As on a bare machine: no media, no weight files, no annotations, no PyTorch; here
    at toy size on the CPU.
    """
    # Python reads this at its start, in the processes of the pieces as well.
    (tmp_path / "sitecustomize.py").write_text(BLOCK, "utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    words = "gpu --sizes 32x16 --published nano --batches 1 2 --sweep 20x16 32x16"
    only = "--only nano media nano_torch sizes startup"
    out = tmp_path / "out"
    output = run_alone(
        [*words.split(), *only.split(), "--out", str(out)], PYTHONPATH=path
    )
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["not_measured"] == {}
    rows = results["rows"]
    pieces = ["nano"] * 2 + ["nano_torch"] * 2 + ["sizes"] * 4
    assert [row["piece"] for row in rows] == pieces
    assert [row["batch"] for row in rows[:2]] == [1, 2]
    assert all(row["finite"] for row in rows if "finite" in row)
    sources = [source for _, source, _, _ in results["rows"][0]["operations"]]
    assert any(source.endswith("conv_general_dilated") for source in sources)
    assert [row["lr"] for row in rows[-2:]] == [[20, 16], [32, 16]]
    assert rows[3]["what"] == "PyTorch graphs"
    assert "No module named 'torch'" in rows[3]["note"]
    assert "media not measured: av, tyro, safetensors not installed" in output


def run_alone(words: list[str], **surroundings: str) -> str:
    """Returns what `python -m benchmarks` prints, compiled as for a user."""
    environment = {**os.environ, **surroundings}
    # Tests compile without optimisations; here a user's program is run.
    environment.pop("XLA_FLAGS", None)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
