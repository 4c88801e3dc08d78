"""Which group of frames a worker does next.

A stream forgets at a scene cut, so a group may be begun at the last cut before it: the
frames from there to the group are computed for the state alone, at least one, for it is
by its state that such a worker shows that the cut was one. A worker that has just done
the group before has the state already. So workers go on with their own runs of groups,
and one without a run takes the end of another's, where that saves more time than it
wastes.
"""

import bisect
import heapq
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Film(NamedTuple):
    """Frames 0 .. total in groups of ``group``; cuts begin with 0, in order.

    fresh: frames without a past, whatever was before them.
    """

    total: int
    group: int
    cuts: tuple[int, ...] = (0,)
    fresh: frozenset[int] = frozenset({0})

    @property
    def num_groups(self) -> int:
        """Groups, of which the last may be shorter."""
        return math.ceil(self.total / self.group)

    def start(self, number: int) -> int:
        """First frame of a group; that of the group behind the last is the end."""
        return min(self.total, number * self.group)

    def count(self, first: int, end: int) -> int:
        """Frames in groups first .. end."""
        return self.start(end) - self.start(first)

    def entry(self, number: int) -> int:
        """The last cut before the group's first frame; this itself, if it is fresh."""
        start = self.start(number)
        if start in self.fresh:
            return start
        # Not at the frame itself: one is needed to show that the cut was one.
        num_before = bisect.bisect_left(self.cuts, start)
        return self.cuts[num_before - 1]

    def waste(self, number: int) -> int:
        """Frames to be computed for the state alone, if a worker begins there."""
        return self.start(number) - self.entry(number)


class Start(NamedTuple):
    """A group to begin with. waste: frames before it; saved: frames of waiting."""

    number: int
    waste: int
    saved: float


def best_start(
    film: Film,
    busy: Collection[int],
    finished: Collection[int],
    num_idle: int,
) -> Start | None:
    """Returns where a worker without a run begins; None if that would save nothing.

    busy: groups that workers do now, and after which they go on. finished: groups whose
    frames are there; the state after one of them serves the group behind it. num_idle:
    workers without a run, this one included.
    """
    best: Start | None = None
    for first, end in _open_runs(film, busy, finished):
        has_owner = first - 1 in busy
        start = _start_in(film, first, end, has_owner, finished, num_idle)
        if start is None:
            continue
        if best is None or start.saved > best.saved:
            best = start
    return best


def _open_runs(
    film: Film, busy: Collection[int], finished: Collection[int]
) -> list[tuple[int, int]]:
    """Runs (first, end) of groups that nobody has begun."""
    runs = []
    first: int | None = None
    for number in range(film.num_groups + 1):
        is_begun = number in busy or number in finished
        is_open = number < film.num_groups and not is_begun
        if is_open and first is None:
            first = number
        elif not is_open and first is not None:
            runs.append((first, number))
            first = None
    return runs


def _start_in(
    film: Film,
    first: int,
    end: int,
    has_owner: bool,
    finished: Collection[int],
    num_idle: int,
) -> Start | None:
    """The best start in a run, which its owner would do alone otherwise."""
    if not has_owner:
        # Somebody must, and the rest is shared when the next one asks.
        has_state = first - 1 in finished
        waste = 0 if has_state else film.waste(first)
        return Start(first, waste, float("inf"))
    total = film.count(first, end)
    best: Start | None = None
    for number in range(first, end):
        waste = film.waste(number)
        mine = waste + film.count(number, end)
        others = film.count(first, number) / num_idle
        saved = total - max(mine, others) - waste
        if saved > 0 and (best is None or saved > best.saved):
            best = Start(number, waste, saved)
    return best


class Forecast(NamedTuple):
    """A plan's cost in frames. longest: until the end; waste: computed twice."""

    longest: float
    waste: int


@dataclass
class _Simulated:
    """A worker of `forecast`."""

    number: int
    group: int = -1
    has_ended: bool = field(default=True)


def forecast(
    film: Film,
    num_workers: int,
    finished: Collection[int] = (),
    speeds: Mapping[int, float] | None = None,
) -> Forecast:
    """Plays the plan through: every frame takes a worker the same time, or 1 / speed
    of it.
    """
    ready = set(finished)
    busy: set[int] = set()
    workers = [_Simulated(number) for number in range(num_workers)]
    idle = list(workers)
    # (time, tie-breaker, worker)
    events: list[tuple[float, int, _Simulated]] = []
    now = 0.0
    waste = 0

    def begin(worker: _Simulated, number: int, before: int) -> None:
        worker.group = number
        busy.add(number)
        frames = before + film.count(number, number + 1)
        speed = (speeds or {}).get(worker.number, 1.0)
        end = now + frames / speed
        heapq.heappush(events, (end, worker.number, worker))

    while True:
        while idle:
            start = best_start(film, busy, ready, len(idle))
            if start is None:
                break
            waste += start.waste
            begin(idle.pop(0), start.number, start.waste)
        if not events:
            return Forecast(now, waste)
        now, _, worker = heapq.heappop(events)
        busy.discard(worker.group)
        ready.add(worker.group)
        following = worker.group + 1
        is_open = following < film.num_groups and following not in ready | busy
        if is_open:
            begin(worker, following, 0)
        else:
            idle.append(worker)


def describe(film: Film, num_workers: int, num_chosen: int) -> list[str]:
    """Lines about what can run at the same time.

    num_chosen: cuts that the user has asked for and that are no scene cuts.
    """
    plan = forecast(film, num_workers)
    speed = film.total / max(plan.longest, 1)
    again = plan.waste / max(film.total, 1)
    num_cuts = len(film.cuts) - 1
    if num_cuts == 0 and num_workers > 1:
        lines = [
            f"workers  {num_workers}, of which one can work: no scene cut is known in "
            f"{film.total} frames; --cut-at FRAME lets others begin there"
        ]
    else:
        lines = [
            f"workers  {num_workers}, {speed:.1f} times as fast as one by {num_cuts} "
            f"cuts; {again:.1%} of {film.total} frames are computed twice"
        ]
    if num_chosen:
        lines.append(
            f"cuts     {num_chosen} of --cut-at are no scene cuts: the picture may "
            "change there from one frame to the next"
        )
    return lines
