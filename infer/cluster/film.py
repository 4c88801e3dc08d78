"""One video by several workers, or several videos by one crew."""

from collections.abc import Callable, Sequence

from infer.cluster.crew import crew
from infer.cluster.drive import Job, drive
from infer.cluster.table import Table
from infer.console import Clock
from infer.jobs.file_job import Report, no_delivery
from infer.jobs.plan import Plan
from infer.options import Options

UNKNOWN = 10**6
"""Frames."""


def run_film(options: Options, plan: Plan, deliver: Callable[[Report], None]) -> Report:
    """Does one job; on return its output is complete under its final name and checked.

    Returns the report; ``deliver`` gets it while a killed job could still be ended by
    the same command.
    """
    with crew(options) as workers, Clock(plan.expected_frames) as clock:
        job = Job(options, plan, deliver, clock)
        drive(workers, [job])
    if job.error is not None:
        raise job.error
    assert job.report is not None
    return job.report


def run_films(options: Options, plans: Sequence[Plan]) -> list[Report | BaseException]:
    """Does several jobs, the longest first; returns the report or the failure of each.

    A worker does a video as long as there are more videos than workers; then they share
    those that are left.
    """
    if not plans:
        return []
    jobs = [job_of_several(options, plan) for plan in plans]
    longest_first = sorted(jobs, key=work_of, reverse=True)
    with crew(options) as workers, Table(workers.hands, jobs) as table:
        drive(workers, longest_first, table.look)
    outcomes = [job.error or job.report for job in jobs]
    return [outcome for outcome in outcomes if outcome is not None]


def job_of_several(options: Options, plan: Plan) -> Job:
    """Returns a job that counts quietly."""
    clock = Clock(plan.expected_frames, quiet=True)
    return Job(options, plan, no_delivery, clock, plan.info.path)


def work_of(job: Job) -> int:
    """Pixels of all frames; a video of unknown length is taken for a long one."""
    info = job.plan.info
    num_frames = job.plan.expected_frames
    if num_frames is None:
        num_frames = UNKNOWN
    return info.width * info.height * num_frames
