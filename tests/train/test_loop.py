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
    checkpoint.save(
        path, tiny, jax.jit(init_params, static_argnums=1)(jax.random.key(0), tiny)
    )
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


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {
        path: np.asarray(value)
        for path, value in flatten(
            checkpoint.load(str(folder / "weights.safetensors"))[1]
        ).items()
    }


def assert_same_bits(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for path, value in first.items():
        assert value.tobytes() == second[path].tobytes(), path


def test_a_chain_hands_its_weights_on_and_keeps_its_table_in_the_folder_of_the_run(
    init, packed, tmp_path, capsys
):
    out = tmp_path / "new" / "chain"
    run = small_run(init, str(packed), steps=2, out=str(out))
    flow = dataclasses.replace(run, objective="flow", trained=("flow/*",))
    assert run_chain([("teacher", run), ("flow", flow)], tmp_path / "unused") == 0
    table = (out / "chain.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [
        "| teacher",
        "| flow",
    ]
    assert table in capsys.readouterr().out
    first, second = weights(out / "teacher"), weights(out / "flow")
    changed = {
        path.split("/")[0]
        for path in first
        if first[path].tobytes() != second[path].tobytes()
    }
    assert changed == {"flow"}
    assert run_chain([("teacher", run), ("flow", flow)], tmp_path / "unused") == 0
    assert "train 1/2" not in capsys.readouterr().out
    assert not (tmp_path / "unused").exists()


def test_resume_after_sigkill_is_bit_exact(init, packed, tmp_path):
    data = str(packed)
    process = run_process(
        {"init": init, "data": data, "out": str(tmp_path / "killed"), "kill_at": 5}
    )
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    outcome = loop.train(small_run(init, data), tmp_path / "killed")
    assert outcome.status == "done"
    loop.train(small_run(init, data), tmp_path / "whole")
    assert_same_bits(tmp_path / "killed", tmp_path / "whole")
    records = [
        json.loads(line)
        for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()
    ]
    steps = [r["step"] for r in records]
    assert steps[:5] == [1, 2, 3, 4, 5]
    assert steps[5] in (3, 5)  # from checkpoint 2 or 4, whichever was complete
    moved = {
        p
        for p, v in weights(tmp_path / "whole").items()
        if not np.array_equal(v, flatten(checkpoint.load(init)[1])[p])
    }
    assert moved
    assert all(path.startswith("unet/") for path in moved)


def test_signal_saves_and_ends_the_run(init, packed, tmp_path, monkeypatch):
    write = loop.Log.write

    def interrupting(self, step, *args, **kwargs):
        write(self, step, *args, **kwargs)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Log, "write", interrupting)
        assert (
            loop.train(small_run(init, str(packed)), tmp_path).status == "interrupted"
        )
    assert loop.train(small_run(init, str(packed)), tmp_path).status == "done"
    with pytest.raises(
        ValueError, match=r"holds a run with seed=3, not 4: use another --out"
    ):
        loop.train(small_run(init, str(packed), seed=4), tmp_path)


def test_not_a_number_stops_and_keeps_the_last_good_checkpoint(init, packed, tmp_path):
    bad = dataclasses.replace(
        small_run(init, str(packed)).optimizer, learning_rate=1e30, clip=1e30
    )
    with pytest.raises(FloatingPointError, match="last checkpoint is intact"):
        loop.train(small_run(init, str(packed), optimizer=bad, steps=40), tmp_path)
    assert all(np.isfinite(value).all() for value in weights(tmp_path).values())


def test_missing_data_is_one_clear_line(init, tmp_path):
    with pytest.raises(
        ValueError, match=r"no such file; make it: python -m train\.prepare"
    ):
        loop.train(small_run(init, "/nowhere/data.npy"), tmp_path)


def test_a_bare_machine_trains(init, packed, tmp_path):
    """Nothing but jax, flax, optax, numpy: plain checkpoints, packed data, the same
    bits after a kill.
    """
    absent = [
        "orbax",
        "grain",
        "tensorflow_datasets",
        "av",
        "PIL",
        "tensorboardX",
        "tyro",
        "rich",
    ]
    spec = {
        "init": init,
        "data": str(packed),
        "absent": absent,
        "out": str(tmp_path / "bare"),
    }
    process = run_process(spec | {"kill_at": 5})
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert {p.name for p in (tmp_path / "bare" / "checkpoints").iterdir()} == {
        "step_00000002",
        "step_00000004",
    }
    finish(run_process(spec))
    loop.train(small_run(init, str(packed)), tmp_path / "whole")
    assert_same_bits(tmp_path / "bare", tmp_path / "whole")


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
    steps_on_disk = {
        int(p.name.removeprefix("step_"))
        for p in (tmp_path / "c").iterdir()
        if p.is_dir()
    }
    assert steps_on_disk == {2, 4, 5}
    state, notes = checkpoints.restore(5, state_of(0))
    assert notes == {"data": {"packed": 5}}
    assert jax.tree.structure(state) == jax.tree.structure(state_of(0))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(state_of(5))):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    checkpoints.close()


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors[-2000:]


def assert_close(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    for path, value in first.items():
        np.testing.assert_allclose(value, second[path], atol=5e-4, err_msg=path)


@pytest.mark.heavy(25)
def test_eight_devices_equal_one(init, packed, tmp_path):
    # AdamW divides by the gradient's size: with a rate of 1e-3 rounding stays below the
    # tolerance
    changes = {"steps": 3}
    spec = {"init": init, "data": str(packed), "changes": changes}
    finish(run_process(spec | {"out": str(tmp_path / "one")}))
    spec["changes"] = changes | {"fsdp": 2}
    finish(
        run_process(
            spec | {"out": str(tmp_path / "eight")},
            XLA_FLAGS="--xla_force_host_platform_device_count=8",
        )
    )
    assert_close(tmp_path / "one", tmp_path / "eight")


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
    exported = weights(tmp_path / "two")
    assert all(np.isfinite(value).all() for value in exported.values())


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
    lines = (tmp_path / "moved" / "log.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps[:5] == [1, 2, 3, 4, 5]
    assert steps[5] in (3, 5)  # from checkpoint 2 or 4, whichever was complete
    assert steps[-1] == 6
    exported = weights(tmp_path / "moved")
    assert all(np.isfinite(value).all() for value in exported.values())
