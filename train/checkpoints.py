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
        # a run goes on from the latest
        latest = policies.LatestN(1)
        # sorted downwards, and the last ones stay: those of the lowest loss
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["loss"],
            reverse=True,
            n=NUM_BEST,
        )
        keep = policies.AnyPreservationPolicy([latest, best])
        options = ocp.CheckpointManagerOptions(preservation_policy=keep)
        # Orbax takes absolute paths alone
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: Any, notes: dict[str, Any], metric: float) -> None:
        forms = self._ocp.args
        args = forms.Composite(
            state=forms.StandardSave(state._asdict()),
            notes=forms.JsonSave(notes),
        )
        metrics = {"loss": metric}
        self._manager.save(step, args=args, metrics=metrics, force=True)

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        forms = self._ocp.args
        abstract = jax.tree.map(_without_values, like._asdict())
        args = forms.Composite(
            state=forms.StandardRestore(abstract),
            notes=forms.JsonRestore(),
        )
        saved = self._manager.restore(step, args=args)
        state = type(like)(**saved["state"])
        return state, saved["notes"]

    def close(self) -> None:
        # the last save may still be written in the background
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
        steps = {}
        for path in sorted(self._folder.glob("step_*")):
            number = path.name.removeprefix("step_")
            steps[int(number)] = path
        return steps

    def latest(self) -> int | None:
        return max(self._steps(), default=None)

    def save(self, step: int, state: Any, notes: dict[str, Any], metric: float) -> None:
        partial = self._folder / f"partial_{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        arrays = _flat(state)
        np.savez(partial / "state.npz", **arrays)
        text = json.dumps({"notes": notes, "metric": metric})
        (partial / "notes.json").write_text(text)
        target = self._folder / f"step_{step:08d}"
        # a folder cannot replace one that is not empty
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        self._prune()

    def _prune(self) -> None:
        steps = self._steps()
        ranking = []
        for step, path in steps.items():
            metric = _read_notes(path)["metric"]
            # a NaN would be sorted anywhere
            if np.isfinite(metric):
                ranking.append((metric, step))
        best = sorted(ranking)[:NUM_BEST]
        keep = {step for _, step in best}
        # a run goes on from the latest
        keep.add(max(steps))
        for step in steps.keys() - keep:
            shutil.rmtree(steps[step])

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        path = self._steps()[step]
        leaves = []
        with np.load(path / "state.npz") as file:
            for name, leaf in _flat(like).items():
                array = file[name]
                # numpy reads bfloat16 back as raw bytes
                leaves.append(array.view(leaf.dtype))
        structure = jax.tree.structure(like)
        state = jax.tree.unflatten(structure, leaves)
        return state, _read_notes(path)["notes"]

    def close(self) -> None:
        """Every save is complete when it returns."""


def _read_notes(folder: Path) -> dict[str, Any]:
    text = (folder / "notes.json").read_text()
    return json.loads(text)


def _flat(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    flat = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="|")
        flat[name] = np.asarray(leaf)
    return flat
