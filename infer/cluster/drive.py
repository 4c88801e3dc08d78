"""The driver of workers: which of them does what, and what becomes of the results.

The work folder of a video is here, as that of any job, and so is the end of the job;
its groups of frames come from workers, in any order.
"""

import functools
import itertools
import math
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from infer.cluster.crew import Crew, Hand, WorkerDied, content_of
from infer.cluster.spans import Film, best_start, describe
from infer.cluster.worker import Absent, Assignment, Piece, Scan
from infer.console import Clock, in_words, say
from infer.errors import JobError
from infer.jobs.file_job import (
    Means,
    Report,
    begin,
    conclude,
    finished_before,
    work_folder,
)
from infer.jobs.fingerprint import file_identity
from infer.jobs.finished import remember
from infer.jobs.fitting import layout_of_job
from infer.jobs.plan import Plan
from infer.jobs.work_folder import WorkFolder
from infer.model.layout import Layout, parse_layout
from infer.options import Options
from infer.sources.files import Damage
from sdvsr_jax.atomic import sync

POLL = 1.0
"""Seconds between two looks at the workers."""
MAX_DEATHS = 5
"""Workers that may die of one call before the video is given up."""
LISTS = ("hls", "concat")
"""Inputs that name other files, which are not sent with them."""


class Call(NamedTuple):
    """What a worker was asked for: kind is take, send, scan or upscale."""

    job: "Job"
    kind: str
    subject: Any = None


class Job:
    """A video of the command on its way. title: said at its start, if it is one of
    several.
    """

    def __init__(
        self,
        options: Options,
        plan: Plan,
        deliver: Callable[[Report], None],
        clock: Clock,
        title: str = "",
    ) -> None:
        self.options = options
        self.plan = plan
        self._sent_plan = _with_absolute_paths(plan)
        self.clock = clock
        self.report: Report | None = None
        self.error: BaseException | None = None
        self.num_deaths: Counter[tuple[str, int]] = Counter()
        self._num_sent: Counter[str] = Counter()
        self._deliver = deliver
        self.key = secrets.token_hex(8)
        self.title = title
        self._layout: Layout | None = layout_of_job(options, plan)
        self._means: Means | None = None
        self._work: WorkFolder | None = None
        self._closing = ExitStack()
        self._num_taking = 0
        self._parts: dict[int, tuple[int, int | None]] = {}
        self._scans: dict[int, Scan] = {}
        self._scanning: set[int] = set()
        self._damage = Damage()
        self.film: Film | None = None
        self._busy: set[int] = set()

    @functools.cached_property
    def _identity(self) -> str:
        return file_identity(self.plan.info)

    @property
    def is_over(self) -> bool:
        """Whether it is done or has failed."""
        return self.report is not None or self.error is not None

    @property
    def is_new(self) -> bool:
        """Whether no worker has begun with it."""
        return self._means is None and not self._num_taking

    @property
    def is_being_met(self) -> bool:
        """Whether workers load what it needs, and none has done so yet."""
        return self._means is None and self._num_taking > 0 and not self.is_over

    # What there is to do.

    def following(self, number: int) -> Call | None:
        """The group ``number`` for a worker that has done the one before."""
        if self.film is None or self.is_over:
            return None
        if number >= self.film.num_groups:
            return None
        assert self._work is not None
        finished = self._work.finished
        if number in self._busy or number in finished:
            return None
        if number - 1 not in finished:
            # It was begun with a wrong state, which the worker still has.
            return None
        assignment = self._assignment(number, follows=True)
        return Call(self, "upscale", assignment)

    def part_to_scan(self) -> Call | None:
        """A part of the frames in which nobody has looked for cuts."""
        if self.is_over or self.film is not None:
            return None
        for number in self._parts:
            if number not in self._scanning and number not in self._scans:
                return Call(self, "scan", number)
        return None

    def start(self, num_idle: int) -> tuple[float, Call] | None:
        """A group for a worker without a run, and the frames of waiting it saves."""
        if self.film is None or self.is_over:
            return None
        assert self._work is not None
        start = best_start(self.film, self._busy, self._work.finished, num_idle)
        if start is None:
            return None
        assignment = self._assignment(start.number, follows=False)
        return start.saved, Call(self, "upscale", assignment)

    def _assignment(self, number: int, follows: bool) -> Assignment:
        assert self.film is not None
        film = self.film
        first = film.start(number)
        entry = film.entry(number)
        count = film.count(number, number + 1)
        own_cuts = [cut - self.plan.start for cut in self.plan.cut_at]
        last = max(cut for cut in [0, *own_cuts] if cut <= entry)
        # Noise is counted anew from a cut that was asked for, and from no other.
        index = entry - last
        return Assignment(number, first, count, entry, index, follows)

    def give(self, crew: Crew, hand: Hand, call: Call) -> None:
        """Asks a worker for a call; one that has not this video takes it first."""
        if hand.key != self.key:
            self._let_take(crew, hand)
        elif call.kind == "scan":
            self._scanning.add(call.subject)
            first, end = self._parts[call.subject]
            crew.ask(hand, call, "scan", self.key, first, end)
        else:
            task: Assignment = call.subject
            self._busy.add(task.number)
            state = self._state_for(task)
            crew.ask(hand, call, "upscale", self.key, task, state)

    def _let_take(self, crew: Crew, hand: Hand) -> None:
        self._num_taking += 1
        arguments = (self.options, self._sent_plan, self._identity, self._layout)
        call = Call(self, "take", self._layout)
        crew.ask(hand, call, "take", self.key, *arguments)

    def _state_for(self, task: Assignment) -> Any:
        """The state that the work folder has before a group, if the worker needs it."""
        assert self._work is not None
        before = task.number - 1
        if task.follows or before not in self._work.finished:
            return None
        return self._work.state_after(before)

    # What came of it.

    def accept(self, crew: Crew, hand: Hand, call: Call, answer: Any) -> None:
        """Takes a worker's answer; an error of the video ends the video alone."""
        self._put_back(call)
        try:
            if isinstance(answer, WorkerDied):
                self._count_death(hand, call)
            elif isinstance(answer, Absent):
                self._send(crew, hand, call, answer)
            elif isinstance(answer, BaseException):
                raise answer
            elif not self.is_over:
                self._keep(crew, hand, call, answer)
        except Exception as error:
            self.fail(error)

    def _put_back(self, call: Call) -> None:
        if call.kind == "scan":
            self._scanning.discard(call.subject)
        elif call.kind == "upscale":
            self._busy.discard(call.subject.number)
        else:
            self._num_taking -= 1

    def _count_death(self, hand: Hand, call: Call) -> None:
        part = _part_of(call)
        self.num_deaths[part] += 1
        say(f"warning  {hand.name} died; another one does its part")
        if self.num_deaths[part] > MAX_DEATHS:
            raise JobError(
                f"{self.plan.info.path}: {MAX_DEATHS + 1} workers died of the same "
                "part, perhaps for lack of memory: try --tile, or make room in Ray's "
                "object store and on the disk behind it (`ray memory`); finished parts "
                "are kept, the same command goes on from there"
            )

    def _send(self, crew: Crew, hand: Hand, call: Call, absent: Absent) -> None:
        """Sends the video to a worker that cannot read it; once."""
        if call.kind != "take":
            hand.key = ""
            return
        info = self.plan.info
        if file_identity(info) != self._identity:
            raise JobError(f"{info.path}: was changed while it was read: try again")
        if self._num_sent[hand.name] > MAX_DEATHS:
            raise JobError(str(absent))
        self._num_sent[hand.name] += 1
        if any(name in info.container for name in LISTS):
            raise JobError(
                f"{absent}, and it names other files: put all on a disk that the "
                "workers share"
            )
        paths = list(info.files or (info.path,))
        self._send_next(crew, hand, content_of(paths))

    def _send_next(self, crew: Crew, hand: Hand, parts: Iterator[Any]) -> None:
        part = next(parts, None)
        if part is None:
            self._let_take(crew, hand)
        else:
            self._num_taking += 1
            call = Call(self, "send", parts)
            crew.ask(hand, call, "receive", self.key, *part)

    def _keep(self, crew: Crew, hand: Hand, call: Call, answer: Any) -> None:
        if call.kind == "send":
            self._send_next(crew, hand, call.subject)
        elif call.kind == "take":
            self._meet(crew, hand, answer, call.subject)
        elif call.kind == "scan":
            self._scans[call.subject] = answer
            if len(self._scans) == len(self._parts):
                scan = _joined(self._parts, self._scans)
                self._know(scan, len(crew.hands))
        else:
            self._commit(hand, call.subject, answer)

    def _meet(
        self, crew: Crew, hand: Hand, means: Means, layout: Layout | None
    ) -> None:
        """A worker has the video; the first one says what computes it.

        layout: what the worker was told of that; one that was told nothing and fits
        frames in its own way takes the video again.
        """
        first = self._means
        if first is None:
            self._open(means, crew)
        elif layout is None and means.identity["fit"] != first.identity["fit"]:
            return
        elif means.identity != first.identity and not self.options.mixed_workers:
            raise JobError(
                f"{hand.name} would compute other bytes than the first worker: its "
                "model or its versions differ"
            )
        hand.key = self.key

    def _open(self, means: Means, crew: Crew) -> None:
        self._means = means
        self._layout = parse_layout(means.identity["fit"])
        if self.title:
            say(f"begin    {self.title}")
        else:
            _describe_means(means, len(crew.hands))
        work = work_folder(self.options, self.plan, means, gaps=True)
        self._work = self._closing.enter_context(work)
        if work.is_finished:
            result = finished_before(self.plan, work)
            self._end(result.report)
            return
        begin(self.options, self.plan, work)
        self.clock.go_on_after(work.num_frames + work.num_frames_ahead)
        known = work.recall("scan")
        if known is not None:
            damage = Damage(**known["damage"])
            cuts = tuple(known["cuts"])
            scan = Scan(known["num_frames"], cuts, damage)
            self._know(scan, len(crew.hands))
            return
        free = [other for other in crew.hands if self._has_time(other)]
        parts = _parts_of(self.plan, max(1, len(free)))
        self._parts = dict(enumerate(parts))

    def _has_time(self, hand: Hand) -> bool:
        """Whether a worker can look for cuts, now or when it has the video."""
        is_taking = hand.call is not None and hand.call.job is self
        return hand.is_idle or is_taking

    def _know(self, scan: Scan, num_workers: int) -> None:
        """The cuts are known: the work can be shared."""
        assert self._work is not None
        plan = self.plan
        self._damage = scan.damage
        content = {**scan._asdict(), "damage": asdict(scan.damage)}
        self._work.remember("scan", content)
        own_cuts = {cut - plan.start for cut in plan.cut_at}
        own_cuts = {cut for cut in own_cuts if 0 < cut < scan.num_frames}
        cuts = sorted({0, *own_cuts, *scan.cuts})
        fresh = frozenset({0, *own_cuts})
        self.film = Film(scan.num_frames, plan.group, tuple(cuts), fresh)
        num_chosen = len(own_cuts - {*scan.cuts})
        if not self.title:
            for line in describe(self.film, num_workers, num_chosen):
                say(line)
        self._end_if_complete()

    def _commit(self, hand: Hand, task: Assignment, piece: Piece) -> None:
        work = self._work
        assert work is not None
        if task.number in work.finished:
            return
        segment = piece.segment
        images = []
        for name, content in piece.files.items():
            if piece.is_video:
                path = Path(work.part(name))
                segment = replace(segment, path=str(path))
            else:
                path = work.path / name
                images.append(name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            sync(path)
        num_before = work.num_frames + work.num_frames_ahead
        before: str | None = piece.begins_with
        if self.options.mixed_workers:
            # They never agree about a state.
            before = None
        elif self.film is not None and task.first in self.film.fresh:
            before = ""
        work.commit(segment, piece.state, images, None, task.number, before)
        for _ in segment.pts:
            self.clock.tick()
        num_frames = work.num_frames + work.num_frames_ahead
        expected = num_before + len(segment.pts)
        self._tell_lost(expected - num_frames)
        self._end_if_complete()

    def _tell_lost(self, count: int) -> None:
        """Says that a cut was none after all."""
        if count:
            self.clock.take_back(count)
            say(f"note     {count} frames are done again: no cut was before them")

    def _end_if_complete(self) -> None:
        assert self.film is not None
        assert self._work is not None
        assert self._means is not None
        if len(self._work.segments) < self.film.num_groups:
            return
        result = conclude(
            self.options,
            self.plan,
            self._work,
            self._means,
            self._damage,
            self.clock,
        )
        self._end(result.report)

    def _end(self, report: Report) -> None:
        assert self._work is not None
        self._deliver(report)
        # Before the work folder goes: without a record the output is one that nobody
        # knows.
        remember(self.plan.output, self.plan.info)
        self._work.remove()
        self.report = report
        self._closing.close()

    def fail(self, error: BaseException) -> None:
        """Ends the video; finished groups are kept."""
        if self.is_over:
            return
        self.error = error
        self._closing.__exit__(type(error), error, error.__traceback__)


def _part_of(call: Call) -> tuple[str, int]:
    """What a worker may die of: a group, a part of the first pass, or the video."""
    if call.kind == "upscale":
        return call.kind, call.subject.number
    if call.kind == "scan":
        return call.kind, call.subject
    return "take", 0


def no_look() -> None:
    """Nobody watches."""


def drive(crew: Crew, jobs: Sequence[Job], look: Callable[[], None] = no_look) -> None:
    """Does all jobs; each is over at the end, done or failed.

    look: called at least every `POLL` seconds. An interruption, or an error of the
    crew, is raised when all are closed.
    """
    runs: dict[str, tuple[Job, int]] = {}
    try:
        while not all(job.is_over for job in jobs):
            _give_out(crew, jobs, runs)
            look()
            for hand, call, answer in crew.answers(POLL):
                runs.pop(hand.name, None)
                call.job.accept(crew, hand, call, answer)
                if isinstance(answer, Piece):
                    runs[hand.name] = (call.job, call.subject.number + 1)
    except BaseException as error:
        for job in jobs:
            job.fail(error)
        raise


def _give_out(
    crew: Crew, jobs: Sequence[Job], runs: dict[str, tuple[Job, int]]
) -> None:
    """Gives every idle worker the next thing to do, if there is any."""
    idle = [hand for hand in crew.hands if hand.is_idle]
    num_idle = len(idle)
    for hand in idle:
        call = None
        if hand.name in runs:
            job, number = runs.pop(hand.name)
            call = job.following(number)
        call = call or choose(jobs, hand.key, num_idle)
        if call is not None:
            num_idle -= 1
            call.job.give(crew, hand, call)


def choose(jobs: Sequence[Job], key: str, num_idle: int) -> Call | None:
    """The next call for a worker without a run, that has the video ``key``.

    First what somebody must do, then videos that nobody has begun, in their order, then
    the end of another worker's run, then to load what the next video needs.
    """
    # The video that the worker has comes first.
    order = sorted(jobs, key=lambda job: job.key != key)
    starts = []
    for job in order:
        start = job.start(num_idle)
        if start is not None:
            starts.append(start)
    for saved, call in starts:
        if saved == float("inf"):
            return call
    for job in order:
        scan = job.part_to_scan()
        if scan is not None:
            return scan
    for job in jobs:
        if job.is_new and not job.is_over:
            return Call(job, "take")
    if starts:
        _, call = max(starts, key=lambda start: start[0])
        return call
    for job in jobs:
        if job.is_being_met and job.key != key:
            return Call(job, "take")
    return None


def _parts_of(plan: Plan, count: int) -> Iterator[tuple[int, int | None]]:
    """Parts of about equal length; the last goes to the end, wherever that is."""
    total = plan.expected_frames or 0
    length = max(plan.group, math.ceil(total / count))
    firsts = list(range(0, max(total, 1), length))
    yield from itertools.pairwise(firsts)
    yield firsts[-1], None


def _joined(parts: dict[int, tuple[int, int | None]], scans: dict[int, Scan]) -> Scan:
    """One scan of all frames. Every part was decoded from the first frame on, so the
    last one has met all that is damaged.
    """
    cuts: list[int] = []
    total = 0
    for number in sorted(parts):
        first, end = parts[number]
        scan = scans[number]
        cuts += scan.cuts
        total = first + scan.num_frames
        if end is not None and total < end:
            break
    damage = Damage()
    last = scans[max(parts)].damage
    for entry in fields(Damage):
        setattr(damage, entry.name, getattr(last, entry.name))
    # These are counted where frames are converted.
    for name in ("resized_frames", "cleared_frames"):
        counts = [getattr(scan.damage, name) for scan in scans.values()]
        setattr(damage, name, sum(counts))
    inner_cuts = [cut for cut in cuts if cut < total]
    return Scan(total, tuple(inner_cuts), damage)


def _with_absolute_paths(plan: Plan) -> Plan:
    """Returns the plan as workers need it, who run in other folders."""
    path = os.path.abspath(plan.info.path)
    files = tuple(map(os.path.abspath, plan.info.files))
    info = replace(plan.info, path=path, files=files)
    return replace(plan, info=info)


def _describe_means(means: Means, num_workers: int) -> None:
    facts = means.report
    model = facts["model"]
    device = facts["device"]
    effort = f"{facts['precision']}, {facts['steps']} steps"
    say(f"model    {model}, {num_workers} workers, {device}, {effort}")
    memory = means.memory
    on_device = in_words(memory.device)
    on_host = in_words(memory.host)
    say(f"memory   {on_device} on the device, {on_host} on the host, for each worker")
