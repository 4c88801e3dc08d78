"""One worker: it finds cuts, and upscales groups of frames, of one video at a time.

A worker is a process that Ray starts, on this machine or another. It knows no Ray and
no work folder: finished groups go back as bytes. jax is imported after the environment
is set, with the first model.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from infer.errors import JobError
from infer.frame import Frame
from infer.jobs.plan import Plan
from infer.jobs.work_folder import state_digest
from infer.model.engines import Engines
from infer.model.layout import Layout
from infer.model.threads import use_threads
from infer.options import Options, parse_degree
from infer.sinks.segments import Segment
from infer.sources.files import Damage, FileSource
from infer.sources.inbox import Inbox

if TYPE_CHECKING:
    from infer.jobs.file_job import Means
    from infer.model.engine import Engine
    from sdvsr_jax.state import StreamState
    from sdvsr_jax.types import Array

CLEAR = 0.99
"""Of the validity below which the model forgets: the pass that finds cuts is another
program than the step, and rounds differently. A cut too many costs work, and no bytes:
`Piece.begins_with` tells it.
"""
State = dict[str, np.ndarray]


class Absent(Exception):
    """A worker lacks what an earlier process of its had: the video, or a state."""


class Scan(NamedTuple):
    """A part of a video that was looked at.

    cuts: frames where the model will probably forget; from 0 at the first frame of the
    job.
    """

    num_frames: int
    cuts: tuple[int, ...]
    damage: Damage


class Assignment(NamedTuple):
    """A group of frames to upscale; frames are counted from the job's first.

    start: where the stream begins, at or before the group. index: the number of that
    frame for the noise. follows: the worker has just done the group before.
    """

    number: int
    first: int
    count: int
    start: int
    index: int
    follows: bool


class Piece(NamedTuple):
    """A finished group.

    files: bytes of its files, by their names in a work folder. begins_with: digest of
    the state before it, which must be that after the group before; '' if its first
    frame has no past.
    """

    segment: Segment
    files: dict[str, bytes]
    state: State
    is_video: bool
    begins_with: str


class Worker:
    """Does the calls of the driver one after the other; `progress` at any time.

    engines: those of other workers in the same process.
    """

    def __init__(self, threads: int, engines: Engines | None = None) -> None:
        use_threads(threads)
        self._engines = engines or Engines()
        self._effort = 0
        self._key = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._run: _Run | None = None

    def progress(self) -> int:
        """Frames that have gone through this process, whatever for."""
        return self._effort

    def close(self) -> None:
        """Removes what is on this machine's disk."""
        self._leave("")

    def surroundings(self, device: str) -> dict[str, Any]:
        """Returns the facts that must be equal on all workers of a video."""
        from infer.cluster.surroundings import surroundings

        return surroundings(device)

    def receive(self, key: str, name: str, content: bytes, changed: int) -> None:
        """Takes the next bytes of a file of the source, where this worker sees none.

        changed: when the file was, in ns; part of the identity of a big one.
        """
        if self._folder is None or self._key != key:
            self._leave(key)
            self._folder = tempfile.TemporaryDirectory(prefix="sdvsr_")
        path = Path(self._folder.name) / name
        with open(path, "ab") as file:
            file.write(content)
        os.utime(path, ns=(changed, changed))

    def take(
        self,
        key: str,
        options: Options,
        plan: Plan,
        identity: str,
        layout: Layout | None,
    ) -> "Means":
        """Loads model and program for a video; returns what computes it here.

        Absent if the video cannot be read here, or is another file.
        """
        from infer.jobs.file_job import means_of
        from infer.jobs.fingerprint import file_identity
        from infer.jobs.fitting import engine_of_layout, load

        if self._key != key:
            self._leave(key)
        plan = replace(plan, info=self._info_here(plan))
        try:
            is_same = file_identity(plan.info) == identity
        except OSError:
            is_same = False
        if not is_same:
            raise Absent(f"{plan.info.path}: cannot be read by this worker")
        model = load(options, self._engines)
        engine = engine_of_layout(layout, plan, model, self._engines)
        self._run = _Run(self, options, plan, engine)
        return means_of(plan, engine)

    def scan(self, key: str, first: int, end: int | None) -> Scan:
        """Finds the cuts in frames first .. end of the job; None is its last."""
        return self._of(key).scan(first, end)

    def upscale(self, key: str, task: Assignment, state: State | None) -> Piece:
        """Upscales and encodes a group.

        state: after the group before, where the driver has it. Absent if this worker
        should have it and does not.
        """
        return self._of(key).upscale(task, state)

    def tick(self) -> None:
        """A frame has gone through."""
        self._effort += 1

    def _of(self, key: str) -> "_Run":
        if self._run is None or self._key != key:
            raise Absent(f"no video {key} here")
        return self._run

    def _leave(self, key: str) -> None:
        """Gives the video in hand up for another one."""
        if self._run is not None:
            self._run.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._run = None
        self._folder = None
        self._key = key

    def _info_here(self, plan: Plan) -> Any:
        info = plan.info
        if self._folder is None:
            return info
        folder = Path(self._folder.name)
        names = [os.path.basename(path) for path in info.files]
        files = tuple(str(folder / name) for name in names)
        is_folder = bool(files) and info.files != (info.path,)
        path = folder if is_folder else folder / os.path.basename(info.path)
        return replace(info, path=str(path), files=files)


class _Run:
    """A video at a worker: its frames from one place on, and the stream's state."""

    def __init__(
        self, worker: Worker, options: Options, plan: Plan, engine: "Engine"
    ) -> None:
        self._worker = worker
        self._plan = plan
        self._engine = engine
        self._seed = options.seed
        self._degree = parse_degree(options.restore)
        self._closing = contextlib.ExitStack()
        self._frames: Iterator[Frame] = iter(())
        self._next = -1
        self._state: StreamState | None = None
        self._digest = ""

    def close(self) -> None:
        """Ends reading."""
        self._closing.close()

    def scan(self, first: int, end: int | None) -> Scan:
        """As `Worker.scan`; the frame before the first is looked at, too."""
        engine = self._engine
        threshold = self._threshold()
        knows_cuts = engine.knows_cuts
        begin = max(0, first - 1) if knows_cuts else first
        state = engine.start(0, self._degree)
        validities: list[Array] = []
        num_frames = 0
        damage = Damage()
        for frame in self._read(begin, end, damage):
            if knows_cuts:
                state, validity = engine.look(state, frame.rgb)
                validities.append(validity)
            num_frames += 1
            self._worker.tick()
        # Read at the end: in the loop each would be waited for.
        values = [float(np.asarray(validity)[0]) for validity in validities]
        # Frame 0 has no past anyway.
        first_cut = max(first, 1)
        cuts = [
            number
            for number, value in enumerate(values, begin)
            if value < threshold and number >= first_cut
        ]
        num_before = first - begin
        return Scan(max(0, num_frames - num_before), tuple(cuts), damage)

    def _threshold(self) -> float:
        """The mean validity below which a frame is taken for a cut."""
        config = self._engine.model.config
        threshold = config.history.cut_validity
        if config.restorer is not None and self._degree != 0:
            # Between two frames as they came noise counts twice, between one of them
            # and a repaired one once; validity falls exponentially with it.
            threshold = threshold**2
        return CLEAR * threshold

    def upscale(self, task: Assignment, state: State | None) -> Piece:
        """As `Worker.upscale`."""
        if not task.follows:
            self._begin(task, state)
        elif self._next != task.first:
            raise Absent(f"no state before group {task.number} here")
        num_before = task.first - self._next
        if num_before > 0:
            self._digest = self._advance(num_before, _Blind())
        with tempfile.TemporaryDirectory(prefix="sdvsr_") as folder:
            shelf = _Shelf(self._plan, Path(folder))
            before = self._digest
            self._digest = self._advance(task.count, shelf.sink)
            return shelf.piece(task.number, before)

    def _begin(self, task: Assignment, state: State | None) -> None:
        engine = self._engine
        start = task.first if state is not None else task.start
        if state is not None:
            self._state = engine.restore(state)
            self._digest = state_digest(state)
        else:
            self._digest = ""
            self._state = engine.begin_at(task.index, self._seed, self._degree)
        self._frames = self._read(start, None, Damage())
        self._next = start

    def _read(self, first: int, end: int | None, damage: Damage) -> Iterator[Frame]:
        """Frames of the job from ``first`` on, read ahead in a thread."""
        from infer.pipeline import READ_AHEAD

        plan = self._plan
        stops = [stop for stop in (end, plan.count) if stop is not None]
        count = min(stops) - first if stops else None
        # A deinterlacer looks at its neighbours, but never before the job's first.
        lead = min(LEAD, first) if plan.deinterlace else 0
        source = FileSource(
            plan.info,
            plan.start + first - lead,
            None if count is None else count + lead,
            plan.deinterlace,
            damage,
            plan.keeps_alpha,
            plan.cut_at,
        )
        self.close()
        inbox = self._closing.enter_context(Inbox(source, READ_AHEAD))
        return itertools.islice(inbox.frames(), lead, None)

    def _advance(self, count: int, sink: "_Blind | Any") -> str:
        """Moves the stream on by so many frames into a sink; returns the digest of its
        state after them.
        """
        from infer.pipeline import Policy, run
        from sdvsr_jax.snapshot import to_arrays

        assert self._state is not None
        counted = _Counted(sink, self._worker)
        portion = _Portion(self._frames, count)
        state = self._state
        self._state = None
        # One group, so that the state is kept after the last frame alone.
        policy = Policy(group=max(count, 1))
        with closing(counted):
            num_frames = run(portion, self._engine, state, counted, policy)
        if num_frames != count:
            raise JobError(
                f"{self._plan.info.path}: {num_frames} frames from {self._next} on, "
                f"expected {count}: was it changed while it was read?"
            )
        assert counted.state is not None
        self._state = counted.state
        self._next += count
        return state_digest(to_arrays(self._state))


LEAD = 2
"""Frames before the first that a deinterlacer needs, to see it as it does in a run."""


class _Portion:
    """The next frames of an iterator, as a source."""

    def __init__(self, frames: Iterator[Frame], count: int) -> None:
        self._part = itertools.islice(frames, count)

    def frames(self) -> Iterator[Frame]:
        return self._part


class _Blind:
    """A sink for frames that are computed for the state alone."""

    def write(self, frame: Frame, pixels: "Array") -> None: ...

    def mark(self, state: "StreamState") -> None: ...

    def close(self) -> None: ...


class _Counted:
    """A sink that counts frames, and keeps the state after the last one."""

    def __init__(self, sink: Any, worker: Worker) -> None:
        self._sink = sink
        self._worker = worker
        self.state: StreamState | None = None

    def write(self, frame: Frame, pixels: "Array") -> None:
        self._sink.write(frame, pixels)
        self._worker.tick()

    def mark(self, state: "StreamState") -> None:
        self.state = state
        self._sink.mark(state)

    def close(self) -> None:
        self._sink.close()


class _Shelf:
    """Takes the place of a work folder for one group; it is read as bytes."""

    def __init__(self, plan: Plan, path: Path) -> None:
        from infer.sinks.files import PNGSink, SegmentSink

        self.path = path
        self._group: tuple[Segment, State, tuple[str, ...]] | None = None
        if plan.spec is None:
            self.sink = PNGSink(self, plan.info)
        else:
            self.sink = SegmentSink(self, plan.spec, plan.group)

    def part(self, name: str) -> str:
        return str(self.path / name)

    def commit(
        self,
        segment: Segment,
        state: Mapping[str, np.ndarray],
        images: Iterable[str] = (),
    ) -> None:
        self._group = (segment, dict(state), tuple(images))

    def piece(self, number: int, begins_with: str) -> Piece:
        """Returns what was committed."""
        assert self._group is not None
        segment, state, images = self._group
        files = {}
        for name in images:
            files[name] = (self.path / name).read_bytes()
        is_video = bool(segment.path)
        if is_video:
            files[f"{number:06d}.mkv"] = Path(segment.path).read_bytes()
        segment = replace(segment, path="")
        return Piece(segment, files, state, is_video, begins_with)
