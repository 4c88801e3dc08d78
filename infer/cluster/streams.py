"""Live streams on several devices: a process of Ray for each device, which serves its
streams as a server of one device does.

A new stream goes where the least is to do. When a process or its machine is gone, its
streams begin elsewhere with a fresh history, and how many frames that has cost is told.
"""

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import (
    ActorUnavailableError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from infer.cluster.crew import (
    LONGEST_REASON,
    MAX_FAILED_STARTS,
    START_PATIENCE,
    connected,
    find_places,
    in_one_line,
)
from infer.console import console, say
from infer.errors import JobError
from infer.jobs.live_pool import DeviceFacts, LivePool, StreamFacts, Wanted
from infer.model.threads import use_threads
from infer.options import Options
from infer.sources.network import is_network

PATIENCE = 60.0
"""Seconds without an answer after which a process is ended."""
QUICK = 60.0
"""Seconds: a stream whose process dies sooner may be why."""
MAX_QUICK_DEATHS = 3
GATHERING = 60.0
"""Seconds in which the first streams wait for all devices, so that none gets all."""


class Look(NamedTuple):
    """How a device and its streams are, and the lines that they have said since."""

    lines: list[str]
    streams: dict[str, StreamFacts]
    device: DeviceFacts


class Ear(io.StringIO):
    """Keeps lines that are said in this process for another."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Keeps a part of a line, or several."""
        with self._lock:
            self._parts.append(text)
        return len(text)

    def lines(self) -> list[str]:
        """Returns the whole lines since the last time."""
        with self._lock:
            text = "".join(self._parts)
            lines, mark, rest = text.rpartition("\n")
            self._parts = [rest]
        return lines.split("\n") if mark else []


class Station:
    """The streams of one device, in a process that Ray starts."""

    def __init__(self, limit: float, threads: int) -> None:
        use_threads(threads)
        self._ear = Ear()
        console.file = self._ear
        self._pool = LivePool(limit)

    def serve(self, wishes: Sequence[Wanted], forgets: bool) -> Look:
        """Serves these streams from now on, and tells how they are.

        forgets: streams that have failed, or were refused, begin again.
        """
        if forgets:
            self._pool.forget_failures()
        self._pool.want(wishes)
        self._pool.look_after()
        return self._look()

    def drain(self, patience: float) -> tuple[bool, Look]:
        """Ends all streams; whether they have ended in time."""
        is_drained = self._pool.drain(patience)
        return is_drained, self._look()

    def _look(self) -> Look:
        (device,) = self._pool.devices()
        lines = self._ear.lines()
        return Look(lines, self._pool.streams(), device)


@dataclass(eq=False)
class Post:
    """A device as the server sees it.

    look: its last answer, None before the first. answered: when that was. forgets: its
    next call lets failed streams begin again.
    """

    name: str
    actor: Any
    look: Look | None = None
    call: Any = None
    answered: float = field(default_factory=time.monotonic)
    forgets: bool = False
    num_failed_starts: int = 0


@dataclass
class Place:
    """A stream and where it is; post: None as long as no device can take it.

    facts: None before the first. tried: devices that have refused it. final: how it
    ended, if it is begun nowhere any more. gap: when the last frame that left had come,
    if it has not gone on since.
    """

    wish: Any
    post: Post | None = None
    since: float = 0.0
    facts: StreamFacts | None = None
    tried: list[Post] = field(default_factory=list)
    final: StreamFacts | None = None
    gap: float | None = None
    num_moves: int = 0
    num_quick_deaths: int = 0
    outages: int = 0
    lost: int = 0

    @property
    def task(self) -> Any:
        """The wish as the device gets it: what was written before a move stays."""
        options = self.wish.options
        if not self.num_moves or is_network(options.output):
            return self.wish
        path = Path(options.output)
        number = self.num_moves + 1
        output = path.with_name(f"{path.stem}.{number}{path.suffix}")
        further = replace(options, output=str(output))
        return replace(self.wish, options=further)


class Posts:
    """All devices, with the interface of `LivePool`."""

    def __init__(self, options: Options, limit: float) -> None:
        places = find_places(options)
        # Ray's types do not know these options.
        remote: Any = ray.remote
        # A process that dies is replaced here, where its streams are known.
        self._class = remote(Station).options(
            **places.needs, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._arguments = (limit, places.threads)
        self._posts: list[Post] = []
        for number in range(1, places.count + 1):
            post = Post(f"worker {number}", self._start())
            self._posts.append(post)
        self._places: dict[str, Place] = {}
        self._begun = time.monotonic()
        self._is_gathered = False

    def streams(self) -> dict[str, StreamFacts]:
        """How each stream is, by its name."""
        # A copy: metrics are asked for from another thread.
        places = list(self._places.items())
        return {name: _facts_of(place) for name, place in places}

    def devices(self) -> list[DeviceFacts]:
        """How each device is."""
        devices = []
        for post in list(self._posts):
            if post.look is not None:
                device = post.look.device
                devices.append(device._replace(name=post.name))
        return devices

    def want(self, wishes: Sequence[Any]) -> None:
        """Places streams that are new, and lets go those that are gone.

        A stream that is changed is begun anew where it is.
        """
        by_name = {wish.name: wish for wish in wishes}
        for name in list(self._places):
            if name not in by_name:
                del self._places[name]
        for name, wish in by_name.items():
            place = self._places.get(name)
            if place is None or (place.final and place.wish != wish):
                self._places[name] = Place(wish)
            else:
                place.wish = wish

    def forget_failures(self) -> None:
        """Lets streams that have failed, or were refused, begin again."""
        for post in self._posts:
            post.forgets = True
        for place in self._places.values():
            place.tried.clear()
            place.num_quick_deaths = 0
            if place.final is not None and place.final.reason:
                place.final = None

    def look_after(self) -> None:
        """Hears what devices say, and places streams that have none.

        JobError if no process begins.
        """
        for post in list(self._posts):
            self._hear(post)
        self._gather()
        for name, place in self._places.items():
            has_none = place.post is None and place.final is None
            if self._is_gathered and has_none:
                self._put(name, place)
        for post in self._posts:
            if post.call is None:
                tasks = self._tasks(post)
                post.call = post.actor.serve.remote(tasks, post.forgets)
                post.forgets = False

    def drain(self, patience: float) -> bool:
        """Ends all streams; returns whether they have ended in time."""
        awake = [post for post in self._posts if post.look is not None]
        calls = [post.actor.drain.remote(patience) for post in awake]
        longest = 2 * patience
        ray.wait(calls, num_returns=len(calls), timeout=longest)
        have_ended = True
        for call in calls:
            try:
                is_drained, look = ray.get(call, timeout=0)
            except RayError:
                have_ended = False
                continue
            _tell(look)
            have_ended = have_ended and is_drained
        return have_ended

    def close(self) -> None:
        """Ends all processes."""
        for post in self._posts:
            ray.kill(post.actor)

    def _start(self) -> Any:
        return self._class.remote(*self._arguments)

    def _tasks(self, post: Post) -> list[Any]:
        places = self._places.values()
        return [place.task for place in places if place.post is post]

    # What a device says.

    def _hear(self, post: Post) -> None:
        if post.call is None:
            return
        ready, _ = ray.wait([post.call], timeout=0)
        if not ready:
            self._lose_patience(post)
            return
        call = post.call
        post.call = None
        try:
            look: Any = ray.get(call)
        except ActorUnavailableError:
            self._lose_patience(post)
        except (RayActorError, OutOfMemoryError) as error:
            self._replace(post, error)
        except RayTaskError as error:
            raise error.cause from None
        else:
            self._take(post, look)

    def _take(self, post: Post, look: Look) -> None:
        if post.look is None:
            say(f"begin    {post.name}")
            post.num_failed_starts = 0
        _tell(look)
        post.look = look
        post.answered = time.monotonic()
        for name, place in self._places.items():
            facts = look.streams.get(name)
            if place.post is not post or facts is None:
                continue
            place.facts = facts
            self._end_outage(name, place, facts)
            if facts.state == "refused":
                self._try_elsewhere(name, place)

    def _lose_patience(self, post: Post) -> None:
        """Ends a process that has not answered for too long."""
        silence = time.monotonic() - post.answered
        if post.look is not None and silence > PATIENCE:
            say(
                f"warning  {post.name} has not answered for {PATIENCE:g} s: it is ended"
            )
            ray.kill(post.actor)
            self._replace(post, None)
        elif all(one.look is None for one in self._posts):
            waited = time.monotonic() - self._begun
            if waited > START_PATIENCE:
                raise JobError(
                    f"no worker has begun within {START_PATIENCE:g} s, expected "
                    f"{len(self._posts)}: `ray status` tells what the cluster has"
                )

    def _replace(self, post: Post, error: Exception | None) -> None:
        """Lets another process take the place of one that is gone."""
        names = [name for name, place in self._places.items() if place.post is post]
        if post.look is None:
            post.num_failed_starts += 1
        else:
            streams = ", ".join(names) or "none"
            say(f"warning  {post.name} is gone; its streams begin elsewhere: {streams}")
        for name in names:
            self._leave(name, self._places[name], post)
        if post.num_failed_starts > MAX_FAILED_STARTS:
            self._give_up(post, error)
            return
        post.look = post.call = None
        self._begun = time.monotonic()
        post.actor = self._start()

    def _give_up(self, post: Post, error: Exception | None) -> None:
        words = in_one_line(error)[:LONGEST_REASON]
        self._posts.remove(post)
        if not self._posts:
            raise JobError(f"no worker can begin ({words})")
        say(f"warning  {post.name} cannot begin ({words}); the others go on")

    # Where a stream is.

    def _gather(self) -> None:
        """Once all devices are there, or have been waited for, streams are placed."""
        awake = [post for post in self._posts if post.look is not None]
        seconds = time.monotonic() - self._begun
        is_enough = bool(awake) and seconds > GATHERING
        if is_enough or len(awake) == len(self._posts):
            self._is_gathered = True

    def _put(self, name: str, place: Place) -> None:
        post = self._freest(place.tried)
        if post is None:
            return
        place.post = post
        place.since = time.monotonic()
        say(f"{name}: is given to {post.name}")

    def _freest(self, tried: Sequence[Post] = ()) -> Post | None:
        """The device with the least to do; streams that are not in yet count, too."""
        owners = [place.post for place in self._places.values()]

        def effort(post: Post) -> tuple[float, int]:
            load = 0.0 if post.look is None else post.look.device.load
            # Rounded, so that of nearly equal ones the number of streams decides.
            return round(load, 3), owners.count(post)

        awake = [post for post in self._posts if post.look is not None]
        untried = [post for post in awake if post not in tried]
        return min(untried, key=effort, default=None)

    def _try_elsewhere(self, name: str, place: Place) -> None:
        """Takes a stream that was refused to a device that has not done so."""
        assert place.post is not None
        if place.post not in place.tried:
            place.tried.append(place.post)
        if self._freest(place.tried) is not None:
            self._put(name, place)

    def _leave(self, name: str, place: Place, post: Post) -> None:
        """The device of a stream is gone."""
        facts = place.facts
        place.post = None
        place.facts = None
        if facts is not None and facts.is_over:
            place.final = facts
            return
        since_last = None if facts is None else facts.since_last
        if since_last is not None and place.gap is None:
            place.gap = post.answered - since_last
        is_quick = time.monotonic() - place.since < QUICK
        place.num_quick_deaths = place.num_quick_deaths + 1 if is_quick else 0
        place.num_moves += 1
        place.tried.clear()
        if place.num_quick_deaths > MAX_QUICK_DEATHS:
            count = MAX_QUICK_DEATHS + 1
            why = f"{count} workers died within {QUICK:g} s of its start"
            place.final = StreamFacts("failed", why, is_over=True)
            say(f"{name}: failed   {why}")

    def _end_outage(self, name: str, place: Place, facts: StreamFacts) -> None:
        if place.gap is None or facts.since_first is None or place.post is None:
            return
        seconds = time.monotonic() - facts.since_first - place.gap
        num_frames = round(seconds * facts.rate)
        # The last of these is not lost: with it the stream goes on.
        num_lost = max(0, num_frames - 1)
        place.gap = None
        place.outages += 1
        place.lost += num_lost
        say(
            f"{name}: goes on at {place.post.name} with a fresh history after "
            f"{seconds:.1f} s; about {num_lost} frames are lost"
        )


def _facts_of(place: Place) -> StreamFacts:
    facts = place.final or place.facts or StreamFacts("starts")
    device = "" if place.post is None else place.post.name
    return facts._replace(device=device, outages=place.outages, lost=place.lost)


def _tell(look: Look) -> None:
    for line in look.lines:
        say(line)


@contextmanager
def posts(options: Options, limit: float) -> Iterator[Posts]:
    """Starts a process for each device, and ends them when the block is left."""
    with connected(options):
        several = Posts(options, limit)
        try:
            yield several
        finally:
            several.close()
