"""Checkpoints of a run: Orbax where it is installed, else one .npz per step. Latest and
best two are kept.

A checkpoint is the `TrainState` (weights, average, critic, both optimisers, step) and a
JSON of cursor and config.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

NUM_BEST = 2


class Checkpoints(Protocol):
    """What the loop needs; `save` may return before the files are complete, a broken
    save is never seen later.
    """

    def latest(self) -> int | None: ...
    def save(
        self, step: int, state: Any, notes: dict[str, Any], metric: float
    ) -> None: ...
    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]: ...
    def close(self) -> None: ...


def open_checkpoints(folder: Path) -> Checkpoints:
    """Checkpoints in `folder`. What is there decides the form; otherwise Orbax if it
    can be imported.
    """
    has_plain = any(folder.glob("step_*"))
    if importlib.util.find_spec("orbax") and not has_plain:
        return OrbaxCheckpoints(folder)
    return PlainCheckpoints(folder)


class OrbaxCheckpoints:
    """Asynchronous, sharded, for any number of processes."""

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies

        self._ocp = ocp
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(1),
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics["loss"],
                    reverse=True,
                    n=NUM_BEST,
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: Any, notes: dict[str, Any], metric: float) -> None:
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(state._asdict()),
            notes=self._ocp.args.JsonSave(notes),
        )
        self._manager.save(step, args=args, metrics={"loss": metric}, force=True)

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=getattr(x, "sharding", None)
            ),
            like._asdict(),
        )
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardRestore(abstract),
            notes=self._ocp.args.JsonRestore(),
        )
        found = self._manager.restore(step, args=args)
        return type(like)(**found["state"]), found["notes"]

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


class PlainCheckpoints:
    """One folder per step with state.npz and notes.json, written aside and renamed; one
    process only.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _steps(self) -> dict[int, Path]:
        return {
            int(p.name.removeprefix("step_")): p
            for p in sorted(self._folder.glob("step_*"))
        }

    def latest(self) -> int | None:
        return max(self._steps(), default=None)

    def save(self, step: int, state: Any, notes: dict[str, Any], metric: float) -> None:
        partial = self._folder / f"partial_{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        np.savez(partial / "state.npz", **_flat(state))
        (partial / "notes.json").write_text(
            json.dumps({"notes": notes, "metric": metric})
        )
        target = self._folder / f"step_{step:08d}"
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        self._prune()

    def _prune(self) -> None:
        steps = self._steps()
        metrics = {
            s: json.loads((p / "notes.json").read_text())["metric"]
            for s, p in steps.items()
        }
        best = sorted((m, s) for s, m in metrics.items() if np.isfinite(m))[:NUM_BEST]
        keep = {max(steps)} | {s for _, s in best}
        for step in steps.keys() - keep:
            shutil.rmtree(steps[step])

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        path = self._steps()[step]
        with np.load(path / "state.npz") as file:
            # numpy reads bfloat16 back as raw bytes
            leaves = [file[name].view(leaf.dtype) for name, leaf in _flat(like).items()]
        state = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return state, json.loads((path / "notes.json").read_text())["notes"]

    def close(self) -> None:
        """Every save is complete when it returns."""


def _flat(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="|"): np.asarray(leaf)
        for path, leaf in leaves
    }
