"""Whole runs of a tiny model: resume after SIGKILL, checkpoints kept, faults, several
devices and processes.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.networks import init_params
from sdvsr_jax.weights import load as checkpoint
from tests.train.run_once import small_run
from train import loop
from train.chain import run_chain
from train.checkpoints import OrbaxCheckpoints, PlainCheckpoints
from train.selection import flatten
from train.state import TrainState

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def init(tiny, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("init") / "tiny.safetensors"
    make = jax.jit(init_params, static_argnums=1)
    checkpoint.save(path, tiny, make(jax.random.key(0), tiny))
    return str(path)


def shared_programs() -> dict[str, str]:
    """Settings with which a process takes the programs of this one, and it theirs."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        "JAX_DEFAULT_MATMUL_PRECISION": str(jax.config.jax_default_matmul_precision),
    }


def run_process(spec: dict, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.train.run_once", json.dumps(spec)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | shared_programs() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights_in(path: Path) -> dict[str, np.ndarray]:
    _, params = checkpoint.load(str(path))
    return {name: np.asarray(value) for name, value in flatten(params).items()}


def weights(folder: Path) -> dict[str, np.ndarray]:
    return weights_in(folder / "weights.safetensors")


def differing(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> set[str]:
    """Paths whose values do not have the same bits."""
    assert one.keys() == other.keys()
    return {path for path in one if one[path].tobytes() != other[path].tobytes()}


def logged_steps(folder: Path) -> list[int]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def assert_same_bits(a: Path, b: Path) -> None:
    assert not differing(weights(a), weights(b))


def test_a_chain_hands_its_weights_on_and_keeps_its_table_in_the_folder_of_the_run(
    init, packed, tmp_path, capsys
):
    out = tmp_path / "new" / "chain"
    run = small_run(init, str(packed), steps=2, out=str(out))
    flow = dataclasses.replace(run, objective="flow", trained=("flow/*",))
    stages = [("teacher", run), ("flow", flow)]
    unused = tmp_path / "unused"
    assert run_chain(stages, unused) == 0
    table = (out / "chain.md").read_text()
    _, _, *rows = table.splitlines()
    names = [row.split(" | ")[0] for row in rows]
    assert names == ["| teacher", "| flow"]
    assert table in capsys.readouterr().out
    differences = differing(weights(out / "teacher"), weights(out / "flow"))
    assert {path.split("/")[0] for path in differences} == {"flow"}
    # again: all stages are done
    assert run_chain(stages, unused) == 0
    assert "train 1/2" not in capsys.readouterr().out
    assert not unused.exists()


def test_resume_after_sigkill_is_bit_exact(init, packed, tmp_path):
    data = str(packed)
    run = small_run(init, data)
    interrupted = tmp_path / "killed"
    uninterrupted = tmp_path / "whole"
    spec = {"init": init, "data": data, "out": str(interrupted)}
    be_killed(run_process(spec | {"kill_at": 5}))
    outcome = loop.train(run, interrupted)
    assert outcome.status == "done"
    loop.train(run, uninterrupted)
    assert_same_bits(interrupted, uninterrupted)
    steps = logged_steps(interrupted)
    assert steps[:5] == [1, 2, 3, 4, 5]
    # from checkpoint 2 or 4, whichever was complete
    assert steps[5] in (3, 5)
    differences = differing(weights(uninterrupted), weights_in(Path(init)))
    assert differences
    for path in differences:
        assert path.startswith("unet/")


def be_killed(process: subprocess.Popen) -> None:
    """Wait until a process has killed itself."""
    # seconds, but for a machine that compiles for other tests as well
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL


def test_signal_saves_and_ends_the_run(init, packed, tmp_path, monkeypatch):
    write = loop.Log.write

    def interrupting(self, step, *args, **kwargs):
        write(self, step, *args, **kwargs)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    run = small_run(init, str(packed))
    with monkeypatch.context() as patch:
        patch.setattr(loop.Log, "write", interrupting)
        outcome = loop.train(run, tmp_path)
        assert outcome.status == "interrupted"
    outcome = loop.train(run, tmp_path)
    assert outcome.status == "done"
    other = dataclasses.replace(run, seed=4)
    words = r"holds a run with seed=3, not 4: use another --out"
    with pytest.raises(ValueError, match=words):
        loop.train(other, tmp_path)


def test_not_a_number_stops_and_keeps_the_last_good_checkpoint(init, packed, tmp_path):
    run = small_run(init, str(packed), steps=40)
    # weights leave float32's range within a few steps
    bad = dataclasses.replace(run.optimizer, learning_rate=1e30, clip=1e30)
    run = dataclasses.replace(run, optimizer=bad)
    with pytest.raises(FloatingPointError, match="last checkpoint is intact"):
        loop.train(run, tmp_path)
    assert_finite(tmp_path)


def assert_finite(folder: Path) -> None:
    for path, value in weights(folder).items():
        assert np.isfinite(value).all(), path


def test_missing_data_is_one_clear_line(init, tmp_path):
    run = small_run(init, "/nowhere/data.npy")
    words = r"no such file; make it: python -m train\.prepare"
    with pytest.raises(ValueError, match=words):
        loop.train(run, tmp_path)


def test_a_bare_machine_trains(init, packed, tmp_path):
    """Nothing but jax, flax, optax, numpy: plain checkpoints, packed data, the same
    bits after a kill.
    """
    extras = "orbax grain tensorflow_datasets av PIL tensorboardX tyro rich"
    bare = tmp_path / "bare"
    spec = {"init": init, "data": str(packed), "out": str(bare)}
    spec |= {"absent": extras.split()}
    be_killed(run_process(spec | {"kill_at": 5}))
    checkpoints = {path.name for path in (bare / "checkpoints").iterdir()}
    assert checkpoints == {"step_00000002", "step_00000004"}
    finish(run_process(spec))
    uninterrupted = tmp_path / "whole"
    loop.train(small_run(init, str(packed)), uninterrupted)
    assert_same_bits(bare, uninterrupted)


def state_of(value: float) -> TrainState:
    flat = {"a/b": jnp.full((2, 3), value), "c": jnp.asarray(value, jnp.bfloat16)}
    return TrainState(jnp.asarray(int(value), jnp.int32), flat, {}, (flat, ()), {}, ())


@pytest.mark.parametrize("kind", [OrbaxCheckpoints, PlainCheckpoints])
def test_latest_and_best_checkpoints_are_kept(kind, tmp_path):
    checkpoints = kind(tmp_path / "c")
    assert checkpoints.latest() is None
    for step, metric in ((1, 0.5), (2, 0.1), (3, 0.9), (4, 0.2), (5, 0.8)):
        checkpoints.save(step, state_of(step), {"data": {"packed": step}}, metric)
    checkpoints.close()
    checkpoints = kind(tmp_path / "c")
    assert checkpoints.latest() == 5
    folders = [path for path in (tmp_path / "c").iterdir() if path.is_dir()]
    steps = {int(path.name.removeprefix("step_")) for path in folders}
    # the best by its metric, and the last two
    assert steps == {2, 4, 5}
    state, notes = checkpoints.restore(5, state_of(0))
    assert notes == {"data": {"packed": 5}}
    expected = state_of(5)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(expected))
    for a, b in pairs:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    checkpoints.close()


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        # less than the test's own limit, whose message would not have their errors
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors[-2000:]


def assert_close(a: Path, b: Path) -> None:
    first = weights(a)
    second = weights(b)
    for path, value in first.items():
        # a twentieth of a step: AdamW divides by the gradient's size, so that a
        # rounding of a small gradient is not a small step
        np.testing.assert_allclose(value, second[path], atol=5e-4, err_msg=path)


@pytest.mark.heavy(25)
def test_eight_devices_equal_one(init, packed, tmp_path):
    spec = {"init": init, "data": str(packed)}
    one = tmp_path / "one"
    changes = {"steps": 3}
    finish(run_process(spec | {"out": str(one), "changes": changes}))
    eight = tmp_path / "eight"
    changes = {"steps": 3, "fsdp": 2}
    devices = "--xla_force_host_platform_device_count=8"
    sharded = spec | {"out": str(eight), "changes": changes}
    finish(run_process(sharded, XLA_FLAGS=devices))
    assert_close(one, eight)


def start_two(spec: dict, **environment: str) -> list[subprocess.Popen]:
    """Starts a run in two processes that are one."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        address = f"localhost:{server.getsockname()[1]}"
    common = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        **environment,
    }
    return [run_process(spec, **common, JAX_PROCESS_ID=str(k)) for k in range(2)]


@pytest.mark.heavy(20)
def test_two_processes_finish_together(init, packed, tmp_path):
    spec = {
        "init": init,
        "data": str(packed),
        "changes": {"steps": 3},
        "out": str(tmp_path / "two"),
    }
    finish(*start_two(spec))
    assert_finite(tmp_path / "two")


@pytest.mark.heavy(60)
@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_with_another_number_of_devices(init, packed, tmp_path):
    """Two processes with two devices each are killed behind a checkpoint; one process
    with one device goes on.
    """
    spec = {"init": init, "data": str(packed), "out": str(tmp_path / "moved")}
    killed = spec | {"kill_at": 5, "changes": {"fsdp": 2}}
    four = "--xla_force_host_platform_device_count=2"
    processes = start_two(killed, XLA_FLAGS=four)
    assert processes[0].wait(300) == -signal.SIGKILL
    for process in processes:
        process.kill()
        process.communicate()
    finish(run_process(spec))
    steps = logged_steps(tmp_path / "moved")
    assert steps[:5] == [1, 2, 3, 4, 5]
    # from checkpoint 2 or 4, whichever was complete
    assert steps[5] in (3, 5)
    assert steps[-1] == 6
    assert_finite(tmp_path / "moved")
