"""Stages one after the other, each from the last one's weights, and a table of what
each of them changed.
"""

import dataclasses
import json
from pathlib import Path

from configs import RunConfig
from train.loop import Outcome, train

COLUMNS = (
    "loss",
    "psnr",
    "stream_psnr_over_bicubic",
    "stream_lpips",
    "stream_psnr_drift",
)


def run_chain(runs: list[tuple[str, RunConfig]], root: Path) -> int:
    """Run them, each in its folder below `root` (or the runs' own `out`, which a single
    run has for itself).

    A stage that is already done is only read. 0, or 130 if one was interrupted.
    """
    rows, weights = [], ""
    out = runs[0][1].out
    root = Path(out) if out else root
    for name, run in runs:
        folder = root if out and len(runs) == 1 else root / name
        if weights:
            run = dataclasses.replace(run, init=weights)
        print(
            f"== {name}: {run.steps} steps of {run.objective}, "
            f"{', '.join(run.trained)} -> {folder}",
            flush=True,
        )
        outcome = finished(folder, run) or train(run, folder)
        rows.append(_row(name, run, outcome))
        weights = outcome.weights
        if outcome.status == "interrupted":
            print(f"interrupted; the same command continues from {folder}")
            return 130
    if len(rows) > 1:
        text = table(rows)
        print(text)
        (root / "chain.md").write_text(text)
    print(f"weights: {weights}")
    return 0


def finished(folder: Path, run: RunConfig) -> Outcome | None:
    """How a stage ended, if it ran to its last step."""
    path = folder / "outcome.json"
    if not path.exists():
        return None
    outcome = Outcome(**json.loads(path.read_text()))
    return outcome if (outcome.status, outcome.steps) == ("done", run.steps) else None


def _row(name: str, run: RunConfig, outcome: Outcome) -> list[str]:
    cells = [name, str(run.steps), f"{outcome.seconds:.0f}"]
    for column in COLUMNS:
        before, after = outcome.before.get(column), outcome.after.get(column)
        cells.append(
            "" if before is None or after is None else f"{before:.3f} -> {after:.3f}"
        )
    return cells


def table(rows: list[list[str]]) -> str:
    """Markdown: held-out windows before and after each stage."""
    header = ["stage", "steps", "seconds", *COLUMNS]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def read_log(folder: Path, kind: str) -> list[dict]:
    """Records of one kind from a run's log.jsonl."""
    records = [
        json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()
    ]
    return [record for record in records if record["kind"] == kind]
