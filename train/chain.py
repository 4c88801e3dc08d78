"""Stages one after the other, each from the last one's weights, and a table of their
effects.
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
    rows = []
    weights = ""
    _, first_run = runs[0]
    out = first_run.out
    if out:
        root = Path(out)
    is_single = len(runs) == 1
    for name, run in runs:
        folder = root if out and is_single else root / name
        if weights:
            run = dataclasses.replace(run, init=weights)
        parts = ", ".join(run.trained)
        work = f"{run.steps} steps of {run.objective}, {parts}"
        print(f"== {name}: {work} -> {folder}", flush=True)
        outcome = finished(folder, run) or train(run, folder)
        rows.append(_row(name, run, outcome))
        weights = outcome.weights
        if outcome.status == "interrupted":
            print(f"interrupted; the same command continues from {folder}")
            # 128 and the number of Ctrl-C's signal, as shells count
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
    facts = json.loads(path.read_text())
    outcome = Outcome(**facts)
    # a run that was made longer since goes on
    is_whole = outcome.steps == run.steps
    is_done = outcome.status == "done"
    return outcome if is_done and is_whole else None


def _row(name: str, run: RunConfig, outcome: Outcome) -> list[str]:
    cells = [name, str(run.steps), f"{outcome.seconds:.0f}"]
    for column in COLUMNS:
        before = outcome.before.get(column)
        after = outcome.after.get(column)
        is_known = before is not None and after is not None
        cells.append(f"{before:.3f} -> {after:.3f}" if is_known else "")
    return cells


def table(rows: list[list[str]]) -> str:
    """Markdown: held-out windows before and after each stage."""
    header = ["stage", "steps", "seconds", *COLUMNS]
    rule = ["---"] * len(header)
    text = ""
    for cells in (header, rule, *rows):
        line = " | ".join(cells)
        text += f"| {line} |\n"
    return text


def read_log(folder: Path, kind: str) -> list[dict]:
    """Records of one kind from a run's log.jsonl."""
    text = (folder / "log.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    return [record for record in records if record["kind"] == kind]
