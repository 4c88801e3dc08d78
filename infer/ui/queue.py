"""The queue of jobs: a journal on disk, processes of the command, and their progress.

Everything here happens on the server's event loop, so nothing needs a lock.
"""

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
from pydantic import ValidationError

from infer.errors import JobError
from infer.ui.clips import describe_file
from infer.ui.disk import size_of_folder, write_record
from infer.ui.process import Process, is_locked, last_line
from infer.ui.refusal import Refusal, not_there
from infer.ui.schemas import ENDED, Job, JobRecord, Progress
from infer.ui.spare import Spare

RECORD = "job.json"
LANES = {"preview": 1}
"""Previews do not wait for the queue: somebody is looking."""


class Queue:
    """All jobs that are not deleted. at_once: file jobs that run at the same time."""

    def __init__(self, folder: Path, at_once: int) -> None:
        self._folder = folder
        self._lanes = {"file": at_once, **LANES}
        self._records: dict[str, JobRecord] = {}
        self._processes: dict[str, Process] = {}
        self._revisions: dict[str, int] = {}
        self._clock = 0
        self._spare = Spare()
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob(f"*/{RECORD}")):
            self._take_up(path)

    def jobs(self) -> list[Job]:
        """All jobs in the order of the queue."""
        return [record.job for record in self.records()]

    def records(self) -> list[JobRecord]:
        """Their journals, in the same order."""
        records = list(self._records.values())
        # Jobs of one order stay in the order in which they came.
        records.sort(key=lambda record: (record.job.order, record.job.created))
        return records

    def record(self, name: str) -> JobRecord:
        """The journal of a job; a Refusal if there is none."""
        if name not in self._records:
            raise not_there("job", name)
        return self._records[name]

    def folder_of(self, name: str) -> Path:
        """The folder of a job."""
        return self._folder / name

    def changes(self, since: int) -> tuple[int, list[Job], list[str]]:
        """Returns the time of the queue's clock, the jobs that changed after ``since``,
        and the ids of all.
        """
        jobs = []
        for name, revision in self._revisions.items():
            if revision > since and name in self._records:
                jobs.append(self._records[name].job)
        return self._clock, jobs, list(self._records)

    def add(self, record: JobRecord) -> Job:
        """Put a new job at the end of the queue."""
        orders = [other.job.order for other in self._records.values()]
        record.job.order = max(orders, default=0.0) + 1.0
        record.job.created = time.time()
        folder = self.folder_of(record.job.id)
        (folder / "out").mkdir(parents=True)
        self._records[record.job.id] = record
        self._save(record)
        return record.job

    def pause(self, name: str) -> Job:
        """Stop a job; its finished frames are kept."""
        return self._halt(name, "paused", ("queued", "running"))

    def cancel(self, name: str) -> Job:
        """Stop a job and throw its frames away."""
        job = self._halt(name, "cancelled", ("queued", "running", "paused", "failed"))
        if name in self._processes:
            self._processes[name].kill()
        self._sweep(name)
        return job

    def resume(self, name: str) -> Job:
        """Let a paused or failed job go on."""
        record = self.record(name)
        self._expect(record, "resume", ("paused", "failed"))
        record.job.error = ""
        return self._become(record, "queued")

    def move(self, name: str, before: str) -> Job:
        """Put a job in front of another one in the queue, or at its end."""
        record = self.record(name)
        orders = [job.order for job in self.jobs() if job.id != name]
        above = max(orders, default=0) + 2
        if before:
            above = self.record(before).job.order
        smaller = [order for order in orders if order < above]
        below = max(smaller, default=above - 2)
        # Between two others, so that no other job has to change.
        record.job.order = (below + above) / 2
        self._save(record)
        return record.job

    def delete(self, name: str) -> None:
        """End a job and remove all its files."""
        self.record(name)
        if name in self._processes:
            self._processes.pop(name).kill()
        del self._records[name]
        del self._revisions[name]
        self._clock += 1
        shutil.rmtree(self.folder_of(name), ignore_errors=True)

    def tick(self) -> None:
        """Look after the processes and start jobs that may start; called often."""
        for name, process in list(self._processes.items()):
            record = self._records[name]
            if process.is_alive():
                self._read_progress(record)
            else:
                del self._processes[name]
                self._end(record, process)
        for job in self.jobs():
            if job.state == "queued" and self._has_room(job):
                self._start(self._records[job.id])
        # not beside a job, whose first frame would come later
        if not self._processes:
            self._spare.prepare()

    def stop_all(self) -> None:
        """Stop all running commands; they go on when the server starts again."""
        self._spare.dismiss()
        for name, process in self._processes.items():
            record = self._records[name]
            # A new server may look before they have ended: it must not take that for
            # a failure.
            if record.job.state == "running":
                self._become(record, "queued")
            process.stop()

    def _has_room(self, job: Job) -> bool:
        # One that was asked to stop counts until it has ended: two would share the
        # device's memory.
        if job.id in self._processes:
            return False
        lane = [self._records[name].job.kind for name in self._processes]
        num_busy = lane.count(job.kind)
        return num_busy < self._lanes[job.kind]

    def _start(self, record: JobRecord) -> None:
        folder = self.folder_of(record.job.id)
        # of an earlier start
        for name in ("progress.json", "report.json"):
            (folder / name).unlink(missing_ok=True)
        report = f"--report={folder / 'report.json'}"
        places = ["--video", record.source, "--output", record.output, report]
        words = places + record.job.words
        try:
            process = Process.start(folder, words, self._spare)
        except OSError as error:
            record.job.error = f"The command could not be started: {error.strerror}."
            self._become(record, "failed")
            return
        self._processes[record.job.id] = process
        record.process = process.number
        record.job.progress.line = ""
        self._become(record, "running")

    def _end(self, record: JobRecord, process: Process) -> None:
        """A process is no more: decide by its output how the job ended."""
        job = record.job
        self._read_progress(record)
        record.process = None
        if job.state != "running":
            self._save(record)
            return
        if Path(record.output).exists():
            self._finish(record)
            return
        words = process.death() or self._words(record)
        sentence = words.removeprefix("error: ")
        job.error = sentence or "The command ended without a word."
        self._become(record, "failed")

    def _finish(self, record: JobRecord) -> None:
        job = record.job
        output = Path(record.output)
        report = _read_json(self.folder_of(job.id) / "report.json")
        # one input makes one report; several would make a list of them
        job.report = report if isinstance(report, dict) else None
        if output.is_dir():
            job.size = size_of_folder(output)
        else:
            job.size = output.stat().st_size
            # A result that cannot be shown here can still be downloaded.
            with contextlib.suppress(JobError, ValueError, OSError, av.FFmpegError):
                job.clip = describe_file(str(output))
        job.ended = time.time()
        self._become(record, "done")

    def _take_up(self, path: Path) -> None:
        """Read a journal that an earlier server left."""
        try:
            record = JobRecord.model_validate_json(path.read_text("utf-8"))
        except (OSError, ValidationError):
            # Not of this version: left on disk, where its owner may look at it.
            return
        job = record.job
        self._records[job.id] = record
        self._revisions[job.id] = 0
        if is_locked(path.parent):
            process = Process(path.parent, record.process)
            self._processes[job.id] = process
            if job.state != "running":
                process.stop()
        elif job.state == "running":
            # It ended while no server looked: an output appears complete or not at all.
            if Path(record.output).exists():
                self._finish(record)
            else:
                self._become(record, "queued")

    def _halt(self, name: str, state: Any, allowed: tuple[str, ...]) -> Job:
        record = self.record(name)
        self._expect(record, state, allowed)
        if name in self._processes:
            self._processes[name].stop()
        return self._become(record, state)

    def _expect(self, record: JobRecord, wish: str, states: Iterable[str]) -> None:
        if record.job.state not in states:
            sentence = f"The job is {record.job.state}, so this cannot be done: {wish}."
            raise Refusal(409, sentence)

    def _become(self, record: JobRecord, state: Any) -> Job:
        record.job.state = state
        if state in ENDED:
            record.job.ended = time.time()
        self._save(record)
        return record.job

    def _sweep(self, name: str) -> None:
        folder = self.folder_of(name) / "out"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)

    def _save(self, record: JobRecord) -> None:
        self._touch(record)
        path = self.folder_of(record.job.id) / RECORD
        # A full disk must not end the queue; the journal is written at the next change.
        with contextlib.suppress(OSError):
            write_record(path, record.model_dump_json())

    def _words(self, record: JobRecord) -> str:
        """Returns the command's last line, with names for the server's paths."""
        line = last_line(self.folder_of(record.job.id))
        plain = line.replace(record.source, record.job.name)
        return plain.replace(record.output, record.job.output_name)

    def _touch(self, record: JobRecord) -> None:
        self._clock += 1
        self._revisions[record.job.id] = self._clock

    def _read_progress(self, record: JobRecord) -> None:
        folder = self.folder_of(record.job.id)
        values = _read_json(folder / "progress.json")
        before = record.job.progress
        fields = values if isinstance(values, dict) else before.model_dump()
        fields["line"] = self._words(record)
        after = Progress.model_validate(fields)
        if after != before:
            record.job.progress = after
            self._touch(record)


def new_id() -> str:
    """A name that cannot be guessed."""
    return secrets.token_hex(8)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
