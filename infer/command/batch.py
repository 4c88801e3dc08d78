"""Several inputs after each other. All output names are settled before the first job.

Finished inputs are skipped; a failure is told and does not stop the rest.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infer.command.failure import one_line
from infer.command.inputs import Input, check_kind
from infer.console import say
from infer.errors import JobError
from infer.jobs.finished import is_output, is_output_of
from infer.jobs.plan import default_output
from infer.jobs.work_folder import is_published
from infer.options import Options, limits_of, rate_of
from infer.sources.address import is_live
from infer.sources.probe import probe

if TYPE_CHECKING:
    from infer.jobs.file_job import Report
    from infer.jobs.plan import Plan
    from infer.sources.info import VideoInfo


@dataclass
class Entry:
    """One input. error: why it has no output name, or why its job failed."""

    path: str
    output: str = ""
    info: "VideoInfo | None" = None
    error: Exception | None = None


def plan_batch(options: Options, inputs: Sequence[Input]) -> list[Entry]:
    """Output names of all inputs; outputs among the inputs are left out, and said.

    Raises ValueError if two inputs would get one output.
    """
    folder = options.output
    if folder is not None and not os.path.isdir(folder):
        raise ValueError(
            f"--output {folder}: expected an existing folder, because there are "
            "several inputs"
        )
    entries = [_entry(options, item) for item in inputs]
    outputs = {}
    for entry in entries:
        if entry.output:
            outputs[os.path.realpath(entry.output)] = entry
    entries_to_do = []
    for entry, item in zip(entries, inputs, strict=True):
        maker = outputs.get(os.path.realpath(entry.path))
        if maker is not None:
            say(f"note     left out: {entry.path} is the output of {maker.path}")
        elif item.folder and is_output(entry.path):
            say(f"note     left out: {entry.path} is the output of an earlier job")
        else:
            entries_to_do.append(entry)
    _require_distinct(entries_to_do)
    return entries_to_do


def _entry(options: Options, item: Input) -> Entry:
    entry = Entry(item.path)
    try:
        check_kind(item.path)
        if is_live(item.path, None):
            raise ValueError(
                f"{item.path}: a live input, expected it alone and not in a batch"
            )
        fps = rate_of(options)
        info = probe(item.path, options.stream, fps, limits_of(options))
        folder = options.output
        if folder is not None and item.folder:
            # Subfolders of the input become those of the output.
            place = os.path.dirname(os.path.abspath(item.path))
            top = os.path.abspath(item.folder)
            below = os.path.relpath(place, top)
            folder = os.path.normpath(os.path.join(folder, below))
        entry.output = default_output(info, options, folder)
        entry.info = info
    except Exception as error:
        if options.debug:
            raise
        entry.error = error
    return entry


def _require_distinct(entries: Sequence[Entry]) -> None:
    makers: dict[str, str] = {}
    for entry in entries:
        if not entry.output:
            continue
        # Names that differ in case only are one file on some systems.
        name = os.path.realpath(entry.output).casefold()
        if name in makers:
            raise ValueError(
                f"{makers[name]} and {entry.path} would both become {entry.output}; "
                "rename one, or give them to two commands with different --output"
            )
        makers[name] = entry.path


def run_batch(
    options: Options, entries: Sequence[Entry], run: Callable[[Entry], "Report"]
) -> tuple[list["Report"], int]:
    """Runs every job in turn; returns their reports and how many have failed."""
    reports: list[Report] = []
    num_failed = num_skipped = 0
    num_inputs = len(entries)
    for number, entry in enumerate(entries, 1):
        say(f"--- {number} of {num_inputs}: {entry.path}")
        try:
            if entry.error is not None:
                raise entry.error
            if _is_finished(options, entry):
                say(f"skipped  {entry.output} is there already")
                num_skipped += 1
                continue
            _make_folder(entry.output)
            reports.append(run(entry))
        except Exception as error:
            if options.debug:
                raise
            num_failed += 1
            say(one_line(error))
            report = {"input": entry.path, "error": str(error)}
            reports.append(report)
    _summarise(num_inputs, num_skipped, num_failed)
    return reports, num_failed


def share_batch(
    options: Options, entries: Sequence[Entry]
) -> tuple[list["Report"], int]:
    """As `run_batch`, by several workers, which do several inputs at the same time."""
    from infer.cluster.film import run_films

    plans: dict[str, Plan] = {}
    outcomes: dict[str, Report | BaseException] = {}
    for entry in entries:
        try:
            plan = _plan_unless_finished(options, entry)
        except Exception as error:
            if options.debug:
                raise
            outcomes[entry.path] = error
        else:
            if plan is not None:
                plans[entry.path] = plan
    results = run_films(options, list(plans.values()))
    outcomes |= dict(zip(plans, results, strict=True))
    reports = []
    # In the order of the command line, whatever ended first.
    for entry in entries:
        if entry.path in outcomes:
            outcome = outcomes[entry.path]
            reports.append(_report_of(entry.path, outcome))
    failures = [report for report in reports if "error" in report]
    num_skipped = len(entries) - len(outcomes)
    _summarise(len(entries), num_skipped, len(failures))
    return reports, len(failures)


def _plan_unless_finished(options: Options, entry: Entry) -> "Plan | None":
    """The job of an input; None if its output is there."""
    from infer.jobs.plan import make_plan

    if entry.error is not None:
        raise entry.error
    if _is_finished(options, entry):
        say(f"skipped  {entry.output} is there already")
        return None
    _make_folder(entry.output)
    return make_plan(options, entry.path, entry.output)


def _make_folder(output: str) -> None:
    folder = os.path.dirname(output) or "."
    os.makedirs(folder, exist_ok=True)


def _report_of(path: str, outcome: "Report | BaseException") -> "Report":
    if not isinstance(outcome, BaseException):
        return outcome
    say(f"{path}: {one_line(outcome)}")
    return {"input": path, "error": str(outcome)}


def _summarise(num_inputs: int, num_skipped: int, num_failed: int) -> None:
    num_done = num_inputs - num_failed - num_skipped
    say(
        f"{num_inputs} inputs: {num_done} done, {num_skipped} skipped, "
        f"{num_failed} failed"
    )


def _is_finished(options: Options, entry: Entry) -> bool:
    """Whether the output is there; JobError if it is that of another input."""
    output = entry.output
    if options.overwrite or not os.path.lexists(output) or is_published(output):
        return False
    if os.path.isdir(output) and not os.listdir(output):
        return False
    assert entry.info is not None
    if not is_output_of(output, entry.info):
        raise JobError(
            f"{output}: is there already, and not known as the output of {entry.path}; "
            "give --overwrite to replace it or another --output"
        )
    return True
