"""--on-resize split: a source whose frame size changes becomes one output for each run
of equal size.

The parts are jobs over ranges of frames, done one after the other inside the work
folder of the whole, and get their final names together, the first part last. Each
finished part is recorded there as a finished group is.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infer.console import say
from infer.errors import JobError
from infer.jobs.announce import describe_plan
from infer.jobs.plan import Plan, check_target, default_output, make_plan
from infer.jobs.work_folder import WorkFolder
from infer.model.engines import Engines
from infer.options import Options, limits_of, rate_of
from infer.sinks.segments import Segment
from infer.sources.probe import probe
from infer.sources.size_changes import size_runs
from sdvsr_jax.atomic import move_into_place

if TYPE_CHECKING:
    from infer.jobs.file_job import Report
    from infer.model.engine import Model


def plan_parts(options: Options, path: str, output: str | None) -> list[Plan]:
    """A plan for every run of equal size; none where the size does not change."""
    fps = rate_of(options)
    info = probe(path, options.stream, fps, limits_of(options))
    runs = size_runs(info, options.start, options.frames)
    if len(runs) < 2:
        return []
    name = output or default_output(runs[0].info, options)
    name = name.rstrip("/")
    plans = []
    for number, run in enumerate(runs, 1):
        part_options = replace(options, start=run.start, frames=run.count)
        part_output = name if number == 1 else _numbered(name, number)
        plan = make_plan(part_options, path, part_output, run.info, name)
        plans.append(plan)
    return plans


def _numbered(output: str, number: int) -> str:
    stem, suffix = os.path.splitext(output)
    return f"{stem}_{number}{suffix}"


def run_parts(
    options: Options,
    plans: Sequence[Plan],
    engines: Engines,
    deliver: Callable[["Report"], None],
) -> "Report":
    """Does all the parts; on return every output is complete under its final name.

    Returns the report; ``deliver`` gets it while a killed job could still be ended by
    the same command.
    """
    from infer.jobs.file_job import identity
    from infer.jobs.fitting import load

    model = load(options, engines)
    first = plans[0]
    facts: dict[str, Any] = {
        **identity(options, first, model),
        "tile": options.tile,
        "parts": [plan.described() for plan in plans],
    }
    with WorkFolder(first.output, facts, options.restart) as work:
        if work.is_finished and work.published is not None:
            say(f"done     {first.output}  was finished before")
            report = work.published["report"]
        else:
            report = _do_parts(options, plans, work, model, engines)
        deliver(report)
        work.remove()
    return report


def _do_parts(
    options: Options,
    plans: Sequence[Plan],
    work: WorkFolder,
    model: "Model",
    engines: Engines,
) -> "Report":
    if options.resume and not work.has_work:
        raise ValueError(
            f"--resume: there is no unfinished work in {work.path}; "
            "leave --resume out to begin"
        )
    folder = work.path / "parts"
    folder.mkdir(exist_ok=True)
    for number, plan in enumerate(plans, 1):
        size = f"{plan.info.width}x{plan.info.height}"
        last = plan.start + (plan.count or 0) - 1
        place = f"part {number} of {len(plans)}"
        say(f"--- {place}: frames {plan.start}-{last}, {size}")
        if number <= len(work.segments):
            say("         finished before")
            continue
        _do_part(options, plan, work, model, engines)
    return _publish(options, plans, work)


def _do_part(
    options: Options,
    plan: Plan,
    work: WorkFolder,
    model: "Model",
    engines: Engines,
) -> None:
    from infer.jobs.file_job import run_job
    from infer.jobs.fitting import engine_for_job

    place = work.path / "parts" / Path(plan.output).name
    plan = replace(plan, place=str(place))
    # Going on and beginning again are decided for the whole; no other job can reach
    # what lies in its folder.
    options_of_part = replace(
        options,
        start=plan.start,
        frames=plan.count,
        resume=False,
        restart=False,
        overwrite=True,
    )
    describe_plan(plan)

    def commit(report: "Report") -> None:
        files = [place] if place.is_file() else sorted(place.iterdir())
        names = [str(file.relative_to(work.path)) for file in files]
        nothing = Segment("", (), (), 0)
        work.commit(nothing, {}, names, report)

    # Committed before its own work folder goes, so that a kill never leaves a part that
    # nobody knows of.
    engine = engine_for_job(options_of_part, plan, model, engines)
    run_job(options_of_part, plan, engine, commit)


def _publish(options: Options, plans: Sequence[Plan], work: WorkFolder) -> "Report":
    from infer.jobs.fingerprint import file_identity

    first = plans[0]
    if file_identity(first.info) != work.fact("input"):
        raise JobError(
            f"{first.info.path}: was changed while it was read; nothing was written: "
            "give the same command with --restart"
        )
    folder = work.path / "parts"
    # The first part last: its name is the one that was asked for.
    remaining = []
    for plan in reversed(plans):
        if (folder / _name_of(plan)).exists():
            remaining.append(plan)
    for plan in remaining:
        check_target(plan.output, plan.info.path, options.overwrite, first.output)
    work.verify()
    report = {
        "input": first.info.path,
        "outputs": [plan.output for plan in plans],
        "parts": work.reports,
        "nothing_lost": all(part["nothing_lost"] for part in work.reports),
    }
    digests = {
        str(Path(name).relative_to("parts")): work.digest_of(name)
        for name in work.images
    }
    work.mark_published(digests, report)
    for plan in remaining:
        _move(folder / _name_of(plan), Path(plan.output))
    return report


def _move(place: Path, output: Path) -> None:
    if place.is_dir() and output.is_dir():
        for file in sorted(place.iterdir()):
            move_into_place(file, output / file.name)
    else:
        move_into_place(place, output)


def _name_of(plan: Plan) -> str:
    return Path(plan.output).name
