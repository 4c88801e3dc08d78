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
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

NUM_BEST = 2


@runtime_checkable
class Checkpoints(Protocol):
    """`save` may return before the files are complete; a broken save is never seen
    later.
    """

    def latest(self) -> int | None: ...
    def save(
        self, step: int, state: Any, notes: dict[str, Any], metric: float
    ) -> None: ...
    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]: ...
    def close(self) -> None: ...


def open_checkpoints(folder: Path) -> Checkpoints:
    """Checkpoints in `folder`, in the form of those that are there already; without
    any by Orbax, if it can be imported.
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
        latest = policies.LatestN(1)
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["loss"],
            reverse=True,
            n=NUM_BEST,
        )
        keep = policies.AnyPreservationPolicy([latest, best])
        options = ocp.CheckpointManagerOptions(preservation_policy=keep)
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: Any, notes: dict[str, Any], metric: float) -> None:
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(state._asdict()),
            notes=self._ocp.args.JsonSave(notes),
        )
        self._manager.save(
            step,
            args=args,
            metrics={"loss": metric},
            force=True,
        )

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        abstract = jax.tree.map(_without_values, like._asdict())
        args = self._ocp.args.Composite(
            state=self._ocp.args.StandardRestore(abstract),
            notes=self._ocp.args.JsonRestore(),
        )
        saved = self._manager.restore(step, args=args)
        state = type(like)(**saved["state"])
        return state, saved["notes"]

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


def _without_values(x: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(x, "sharding", None)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


class PlainCheckpoints:
    """One folder per step with state.npz and notes.json, written aside and renamed; one
    process only.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _steps(self) -> dict[int, Path]:
        folders = sorted(self._folder.glob("step_*"))
        return {int(path.name.removeprefix("step_")): path for path in folders}

    def latest(self) -> int | None:
        return max(self._steps(), default=None)

    def save(self, step: int, state: Any, notes: dict[str, Any], metric: float) -> None:
        partial = self._folder / f"partial_{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        np.savez(partial / "state.npz", **_flat(state))
        text = json.dumps({"notes": notes, "metric": metric})
        (partial / "notes.json").write_text(text)
        target = self._folder / f"step_{step:08d}"
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        self._prune()

    def _prune(self) -> None:
        steps = self._steps()
        ranking = []
        for step, path in steps.items():
            metric = _read_notes(path)["metric"]
            if np.isfinite(metric):
                ranking.append((metric, step))
        best = sorted(ranking)[:NUM_BEST]
        keep = {max(steps), *(step for _, step in best)}
        for step in steps.keys() - keep:
            shutil.rmtree(steps[step])

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        path = self._steps()[step]
        with np.load(path / "state.npz") as file:
            # numpy reads bfloat16 back as raw bytes
            leaves = [file[name].view(leaf.dtype) for name, leaf in _flat(like).items()]
        state = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return state, _read_notes(path)["notes"]

    def close(self) -> None:
        """Every save is complete when it returns."""


def _read_notes(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "notes.json").read_text())


def _flat(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    flat = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="|")
        flat[name] = np.asarray(leaf)
    return flat
