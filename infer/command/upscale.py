"""The main command: one input, or several after each other."""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from infer.command.inputs import Input, check_kind, find_inputs, is_remote
from infer.command.report import check_report, write_report
from infer.model.engines import Engines
from infer.options import Options, is_shared, parse

if TYPE_CHECKING:
    from infer.jobs.file_job import Report
    from infer.jobs.plan import Plan

Deliver = Callable[["Report"], None]


class Task(NamedTuple):
    """One job or live session that is ready to run.

    run: does it, and calls its second argument with the report while a killed job could
    still be ended by the same command.
    """

    outputs: tuple[str, ...]
    run: Callable[[Engines, Deliver], None]


def main(arguments: list[str]) -> int:
    """0 if all went well; with several inputs 1 if any failed.

    The failure of a single input is raised.
    """
    options = parse(arguments)
    if any(map(is_remote, (*options.video, options.output))):
        from infer.command.remote import run_remote

        return run_remote(options, _run)
    return _run(options)


def _run(options: Options) -> int:
    inputs = find_inputs(options.video, options.recursive)
    paths = [item.path for item in inputs]
    if len(options.video) == 1 and paths == list(options.video):
        _run_single(options, paths[0])
        return 0
    return _run_several(options, inputs)


def _run_single(options: Options, path: str) -> None:
    task = plan_task(options, path, options.output)
    _check_report(options, [path, *task.outputs])
    task.run(Engines(), lambda report: _write_report(options, [report]))


def _run_several(options: Options, inputs: Sequence[Input]) -> int:
    from infer.command.batch import Entry, plan_batch, run_batch, share_batch

    entries = plan_batch(options, inputs)
    paths = [entry.path for entry in entries]
    outputs = [entry.output for entry in entries if entry.output]
    _check_report(options, [*paths, *outputs])
    if is_shared(options):
        require_ray()
        reports, num_failed = share_batch(options, entries)
        _write_report(options, reports)
        return 1 if num_failed else 0
    engines = Engines()

    def run(entry: Entry) -> "Report":
        reports: list[Report] = []
        task = plan_task(options, entry.path, entry.output)
        task.run(engines, reports.append)
        return reports[0]

    reports, num_failed = run_batch(options, entries, run)
    _write_report(options, reports)
    return 1 if num_failed else 0


def _check_report(options: Options, others: list[str]) -> None:
    if options.report:
        check_report(options.report, options.overwrite, others)


def _write_report(options: Options, reports: list["Report"]) -> None:
    if options.report:
        write_report(options.report, options.overwrite, reports)


def plan_task(options: Options, path: str, output: str | None) -> Task:
    """Looks at everything that can be wrong with files and options, before jax is even
    imported.
    """
    from infer.sources.address import is_live

    if not is_live(path, None):
        check_kind(path)
    if is_live(path, output):
        return _live_task(options, path, output)
    if options.on_resize == "split":
        if is_shared(options):
            raise ValueError(
                "--on-resize split: not with several workers; leave --workers and "
                "--cluster out"
            )
        from infer.jobs.split_job import plan_parts

        plans = plan_parts(options, path, output)
        if len(plans) > 1:
            return _split_task(options, plans)
    return _file_task(options, path, output)


def _live_task(options: Options, path: str, output: str | None) -> Task:
    if options.on_resize != "scale":
        raise ValueError(
            f"--on-resize {options.on_resize}: not for live input or output, which "
            "stay one stream"
        )
    if options.fps is not None and options.input_size is None:
        raise ValueError(
            f"--fps {options.fps}: {path} has a clock of its own; --fps is for folders "
            "of images and for raw pictures of --input-size"
        )

    if is_shared(options) or options.cut_at:
        raise ValueError(
            "--workers, --cluster, --cut-at: for files and folders, and not for live "
            "input or output"
        )
    if options.prescale != 1:
        raise ValueError(
            f"--prescale {options.prescale:g}: not for live input or output"
        )

    def run(engines: Engines, deliver: Deliver) -> None:
        from infer.jobs.live_job import run_live

        deliver(run_live(options, path, output, engines))

    return Task((output,) if output else (), run)


def _split_task(options: Options, plans: Sequence["Plan"]) -> Task:
    def run(engines: Engines, deliver: Deliver) -> None:
        from infer.jobs.finished import remember
        from infer.jobs.split_job import run_parts

        def finish(report: "Report") -> None:
            for plan in plans:
                remember(plan.output, plan.info)
            deliver(report)

        run_parts(options, plans, engines, finish)

    outputs = tuple(plan.output for plan in plans)
    return Task(outputs, run)


def _file_task(options: Options, path: str, output: str | None) -> Task:
    from infer.jobs.announce import describe_plan
    from infer.jobs.plan import make_plan

    plan = make_plan(options, path, output)
    if is_shared(options):
        require_ray()
        share = functools.partial(_share, options, plan)
        return Task((plan.output,), share)

    def run(engines: Engines, deliver: Deliver) -> None:
        # The plan is said before jax is loaded.
        describe_plan(plan)
        from infer.jobs.file_job import run_job
        from infer.jobs.finished import remember
        from infer.jobs.fitting import engine_for_job, load

        model = load(options, engines)
        engine = engine_for_job(options, plan, model, engines)

        def finish(report: "Report") -> None:
            # Before the work folder goes: a kill after that is the end of a job.
            remember(plan.output, plan.info)
            deliver(report)

        run_job(options, plan, engine, finish)

    return Task((plan.output,), run)


def require_ray() -> None:
    """Raises ValueError if the extra for several workers is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ValueError(
            "--workers, --cluster: need Ray, which is not installed here: pip install "
            "'sdvsr-jax[cluster]'"
        )


def _share(options: Options, plan: "Plan", engines: Engines, deliver: Deliver) -> None:
    """One file by several workers, whose engines are their own."""
    from infer.cluster.film import run_film
    from infer.jobs.announce import describe_plan

    describe_plan(plan)
    run_film(options, plan, deliver)
