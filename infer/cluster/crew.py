"""The workers of a command, as actors of Ray: started, asked, watched, ended.

Ray places them, starts them anew where they or their machines die, and carries what
they return. What to do next is decided by the driver (`infer.cluster.drive`).
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RaySystemError,
    RayTaskError,
)

from infer.cluster.worker import Worker
from infer.console import say
from infer.errors import JobError
from infer.model.threads import num_threads
from infer.options import Options

DEATHS = (ActorDiedError, ActorUnavailableError, RayActorError, OutOfMemoryError)
MAX_RESTARTS = 1000
LOOK_EVERY = 2.0
"""Seconds between two questions for a worker's progress."""
WATCH = "watch"
"""Group of calls that are answered while another call runs."""
MAX_FAILED_STARTS = 3
LONGEST_REASON = 300
"""Characters of what Ray says about a death."""
LAST_PATIENCE = 5.0
"""Seconds for workers to remove their files."""
START_PATIENCE = 600.0
"""Seconds for the first worker to begin; a cluster may start a machine for it."""


class WorkerDied(Exception):
    """The process of a worker, or its machine, is gone; Ray starts another."""


@dataclass
class Hand:
    """A worker as the driver sees it.

    key: the video it has taken. call: what it does now. effort: frames through it, and
    when that number last changed.
    """

    name: str
    actor: Any
    key: str = ""
    call: Any = None
    result: Any = None
    awake: Any = None
    """Answers when the process is there; None once it has."""
    look: Any = None
    effort: int = 0
    moved: float = field(default_factory=time.monotonic)
    num_failed_starts: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether it can be given something to do."""
        return self.call is None and self.awake is None


class Crew:
    """Workers, and what they answer."""

    def __init__(self, hands: list[Hand], options: Options) -> None:
        self.hands = hands
        self._options = options
        self._patience = options.worker_patience
        self._looked = 0.0
        self._begun = time.monotonic()
        self._facts: dict[str, Any] | None = None
        for hand in hands:
            self._call_back(hand)

    def ask(self, hand: Hand, call: Any, method: str, *arguments: Any) -> None:
        """Gives a worker something to do; ``call`` comes back with the answer."""
        hand.call = call
        hand.moved = time.monotonic()
        hand.result = getattr(hand.actor, method).remote(*arguments)

    def answers(self, seconds: float) -> Iterator[tuple[Hand, Any, Any]]:
        """Yields (worker, call, answer) for what ends within so many seconds.

        The answer is an exception if the call has failed, `WorkerDied` among them.
        Raises JobError if workers are not alike, or none begins.
        """
        self._require_a_start()
        self._watch()
        results = {}
        wakings = {}
        for hand in self.hands:
            if hand.call is not None:
                results[hand.result] = hand
            if hand.awake is not None:
                wakings[hand.awake] = hand
        refs = [*results, *wakings]
        if not refs:
            return
        ray.wait(refs, num_returns=1, timeout=seconds)
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in ready:
            if ref in wakings:
                self._wake(wakings[ref])
            else:
                hand = results[ref]
                call = hand.call
                answer = self._answer(hand)
                yield hand, call, answer

    def _answer(self, hand: Hand) -> Any:
        result = hand.result
        hand.call = hand.result = None
        try:
            return ray.get(result)
        except DEATHS:
            hand.key = ""
            self._call_back(hand)
            return WorkerDied(hand.name)
        except RayTaskError as error:
            return error.cause
        except RaySystemError as error:
            return JobError(f"Ray has lost a result: {in_one_line(error)}")

    def _call_back(self, hand: Hand) -> None:
        """Asks the process that takes the dead one's place to tell when it is there."""
        patient = hand.actor.surroundings.options(max_task_retries=-1)
        hand.awake = patient.remote(self._options.device)

    def _wake(self, hand: Hand) -> None:
        awake = hand.awake
        hand.awake = None
        hand.moved = time.monotonic()
        try:
            facts: Any = ray.get(awake)
        except RayTaskError as error:
            raise error.cause from None
        except DEATHS as error:
            self._give_up_in_the_end(hand, error)
            return
        hand.num_failed_starts = 0
        self._require_alike(hand, facts)

    def _give_up_in_the_end(self, hand: Hand, error: Exception) -> None:
        """Lets a worker try to begin some times, then goes on without it."""
        hand.num_failed_starts += 1
        if hand.num_failed_starts <= MAX_FAILED_STARTS:
            self._call_back(hand)
            return
        words = in_one_line(error)[:LONGEST_REASON]
        self.hands.remove(hand)
        ray.kill(hand.actor)
        if not self.hands:
            raise JobError(f"no worker can begin ({words})")
        say(f"warning  {hand.name} cannot begin ({words}); the others go on")

    def _require_alike(self, hand: Hand, facts: dict[str, Any]) -> None:
        if self._facts is None:
            self._facts = facts
        words = _difference(facts, self._facts)
        if not words:
            return
        text = f"{hand.name} and the first one differ: {words}"
        if not self._options.mixed_workers:
            raise JobError(
                f"{text}; the bytes of a video would depend on who did what: use "
                "equal workers, or allow it by --mixed-workers"
            )
        say(f"warning  {text}")

    def _require_a_start(self) -> None:
        waited = time.monotonic() - self._begun
        if self._facts is None and waited > START_PATIENCE:
            raise JobError(
                f"no worker has begun within {START_PATIENCE:g} s, expected "
                f"{len(self.hands)}: `ray status` tells what the cluster has"
            )

    def _watch(self) -> None:
        """Ends a worker that has not moved for too long; Ray starts it anew."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        for hand in self.hands:
            self._look_at(hand)
            if hand.call is not None and now - hand.moved > self._patience:
                say(
                    f"warning  {hand.name} has not moved for {self._patience:g} s: "
                    "it is ended, another takes its part"
                )
                hand.moved = now
                ray.kill(hand.actor, no_restart=False)

    def _look_at(self, hand: Hand) -> None:
        if hand.look is not None:
            ready, _ = ray.wait([hand.look], timeout=0)
            if not ready:
                return
            look = hand.look
            hand.look = None
            try:
                effort: Any = ray.get(look)
            except (RayTaskError, *DEATHS):
                return
            if effort != hand.effort:
                hand.effort = effort
                hand.moved = time.monotonic()
        if hand.call is not None:
            hand.look = hand.actor.progress.options(concurrency_group=WATCH).remote()


@contextmanager
def crew(options: Options) -> Iterator[Crew]:
    """Starts workers, and ends them when the block is left."""
    with connected(options):
        hands = _hands(options)
        try:
            yield Crew(hands, options)
        finally:
            _end(hands)


def _end(hands: list[Hand]) -> None:
    closing = [
        hand.actor.close.options(concurrency_group=WATCH).remote()
        for hand in hands
        if hand.awake is None
    ]
    if closing:
        ray.wait(closing, num_returns=len(closing), timeout=LAST_PATIENCE)
    for hand in hands:
        ray.kill(hand.actor)


@contextmanager
def connected(options: Options) -> Iterator[None]:
    """Connects to Ray, or starts it on this machine for as long as the block runs."""
    # Nothing is told to anybody about the use.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers count as much as a run without them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    was_there = ray.is_initialized()
    try:
        if not was_there:
            _connect(options)
        if is_main:
            # Ray puts its own in the place of ours.
            signal.signal(signal.SIGTERM, handler)
        yield
    finally:
        if not was_there:
            ray.shutdown()


def _connect(options: Options) -> None:
    quiet: dict[str, Any] = {
        "include_dashboard": False,
        "log_to_driver": False,
        "configure_logging": False,
    }
    if options.cluster is None:
        # Ray starts no more workers than it has CPUs for, one for each at least.
        num_cores = os.cpu_count() or 1
        count = max(options.workers or 1, num_cores)
        ray.init(address="local", num_cpus=count, **quiet)
        return
    try:
        ray.init(address=options.cluster, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError) as error:
        words = in_one_line(error)
        raise JobError(
            f"--cluster {options.cluster}: no Ray cluster answers there ({words})"
        ) from None


def in_one_line(error: Exception | None) -> str:
    """Returns the words of an error without line breaks: Ray's have many."""
    return " ".join(str(error).split())


class Places(NamedTuple):
    """Where workers go. needs: what Ray keeps free for each; threads: of each."""

    count: int
    needs: dict[str, Any]
    threads: int


def find_places(options: Options) -> Places:
    """Returns how many workers there are to be, and what each takes."""
    total = ray.cluster_resources()
    num_gpus = total.get("GPU", 0)
    wants_gpu = options.device != "cpu" and num_gpus > 0
    if options.device == "gpu" and not num_gpus:
        raise ValueError("--device gpu: the cluster has no GPU, expected one a worker")
    nodes = [node for node in ray.nodes() if node["Alive"]]
    num_cpus = total.get("CPU", 1)
    if wants_gpu:
        count = options.workers or max(1, int(num_gpus / options.gpu_share))
        needs: dict[str, Any] = {"num_cpus": 1, "num_gpus": options.gpu_share}
    else:
        count = options.workers or len(nodes)
        sizes = [node["Resources"].get("CPU", 1) for node in nodes]
        per_worker = int(num_cpus / count)
        # What the smallest machine lacks would be waited for without end.
        share = min(per_worker, int(min(sizes)))
        needs = {"num_cpus": max(1, share), "num_gpus": 0}
    # As many as a run without workers takes here, whose bytes are to come out.
    threads = options.threads or num_threads()
    return Places(count, needs, threads)


def _hands(options: Options) -> list[Hand]:
    places = find_places(options)
    # Ray's types do not know this option.
    remote: Any = ray.remote
    # A process that dies is started anew; its call is not, for the driver gives the
    # part to whoever is free.
    actor_class = remote(concurrency_groups={WATCH: 1})(Worker).options(
        **places.needs,
        max_restarts=MAX_RESTARTS,
        max_task_retries=0,
        scheduling_strategy="SPREAD",
    )
    hands = []
    for number in range(1, places.count + 1):
        actor = actor_class.remote(places.threads)
        hands.append(Hand(f"worker {number}", actor))
    return hands


def _difference(facts: dict[str, Any], others: dict[str, Any]) -> str:
    """The facts that are not equal, in words."""
    words = []
    for key in sorted(facts.keys() | others.keys()):
        fact = facts.get(key)
        other = others.get(key)
        if fact != other:
            words.append(f"{key} {fact} and {other}")
    return ", ".join(words)


def content_of(paths: list[str], size: int = 2**26) -> Iterator[tuple[str, Any, int]]:
    """Yields the files' bytes in parts: (base name, reference to bytes, time of change
    of the file).
    """
    for path in paths:
        name = os.path.basename(path)
        changed = os.stat(path).st_mtime_ns
        with open(path, "rb") as file:
            while part := file.read(size):
                yield name, _stored(part), changed


def _stored(content: bytes) -> Any:
    try:
        return ray.put(content)
    except (ObjectStoreFullError, OutOfDiskError):
        raise JobError(
            "Ray's object store is full, and the disk behind it (`ray memory` tells of "
            "what): make room; finished parts are kept, the same command goes on"
        ) from None
