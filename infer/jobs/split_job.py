"""--on-resize split: a source whose frame size changes becomes one output for each run
of equal size.

The parts are jobs over ranges of frames, done one after the other inside the work
folder of the whole, and get their final names together, the first part last. Each
finished part is recorded there as a finished group is.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infer.command.options import Options, parse_fps
from infer.console import describe_plan, say
from infer.jobs.plan import Plan, check_target, default_output, make_plan
from infer.jobs.work_folder import WorkFolder
from infer.model.engines import Engines
from infer.sinks.segments import Segment, sync_file
from infer.sources.probe import probe
from infer.sources.size_changes import size_runs

if TYPE_CHECKING:
    from infer.model.engine import Model


def plan_parts(options: Options, path: str, output: str | None) -> list[Plan]:
    """A plan for every run of equal size; none where the size does not change."""
    info = probe(path, options.stream, parse_fps(options.fps), options.trust_playlist)
    runs = size_runs(info, options.start, options.frames)
    if len(runs) < 2:
        return []
    name = (output or default_output(runs[0].info, options)).rstrip("/")
    outputs = [
        name if number == 1 else _numbered(name, number)
        for number in range(1, len(runs) + 1)
    ]
    ranges = [replace(options, start=run.start, frames=run.count) for run in runs]
    return [
        make_plan(o, path, out, run.info)
        for o, out, run in zip(ranges, outputs, runs, strict=True)
    ]


def _numbered(output: str, number: int) -> str:
    stem, suffix = os.path.splitext(output)
    return f"{stem}_{number}{suffix}"


def run_parts(
    options: Options, plans: Sequence[Plan], engines: Engines
) -> dict[str, Any]:
    """Do all the parts; on return every output is complete under its final name.
    Returns what --report writes.
    """
    from infer.jobs.file_job import identity
    from infer.jobs.fitting import load

    model, first = load(options, engines), plans[0]
    fingerprint = {
        **identity(options, first, model),
        "tile": options.tile,
        "parts": [p.described() for p in plans],
    }
    reports: list[dict[str, Any]] = []
    with WorkFolder(first.output, fingerprint, options.restart) as work:
        if options.resume and not work.has_work:
            raise ValueError(
                f"--resume: there is no unfinished work in {work.path}; leave --resume out to begin"
            )
        folder = work.path / "parts"
        folder.mkdir(exist_ok=True)
        for number, plan in enumerate(plans, 1):
            size = f"{plan.info.width}x{plan.info.height}"
            last = plan.start + (plan.count or 0) - 1
            say(
                f"--- part {number} of {len(plans)}: frames {plan.start}-{last}, {size}"
            )
            place = folder / Path(plan.output).name
            if number <= len(work.segments):
                say("         finished before")
                continue
            if not place.exists():
                reports.append(
                    _run_part(options, replace(plan, place=str(place)), model, engines)
                )
            files = [place] if place.is_file() else sorted(place.iterdir())
            work.commit(
                Segment("", (), (), 0),
                {},
                [str(f.relative_to(work.path)) for f in files],
            )
        _publish(options, plans, work, folder)
    return {
        "input": first.info.path,
        "outputs": [p.output for p in plans],
        "parts": reports,
        "nothing_lost": all(r["nothing_lost"] for r in reports),
    }


def _run_part(
    options: Options, plan: Plan, model: "Model", engines: Engines
) -> dict[str, Any]:
    from infer.jobs.file_job import run_job
    from infer.jobs.fitting import engine_for_job

    describe_plan(plan)
    # Going on and beginning again are decided for the whole; no other job can reach
    # what lies in its folder.
    own = replace(
        options,
        start=plan.start,
        frames=plan.count,
        resume=False,
        restart=False,
        overwrite=True,
    )
    engine = engine_for_job(own, plan, model, engines)
    return run_job(own, plan, engine).as_dict()


def _publish(
    options: Options, plans: Sequence[Plan], work: WorkFolder, folder: Path
) -> None:
    waiting = [p for p in reversed(plans) if (folder / Path(p.output).name).exists()]
    for plan in waiting:
        check_target(plan.output, plan.info.path, options.overwrite)
    work.verify()
    work.mark_published()
    for plan in waiting:
        place = folder / Path(plan.output).name
        if place.is_dir() and os.path.isdir(plan.output):
            for file in sorted(place.iterdir()):
                os.replace(file, Path(plan.output) / file.name)
        else:
            os.replace(place, plan.output)
    sync_file(str(Path(plans[0].output).resolve().parent))
    work.remove()
