"""Ray on this machine: the processes that commands of a test have started, and clusters
of several nodes that are emulated in a process of their own, because Ray forks and a
process with JAX must not.

    python rays.py SETTINGS    a cluster with a head without workers, asked by lines
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARK = "SDVSR_TEST_MARK"


def actors(root: int | None = None, kind: str = "Worker") -> list[int]:
    """Processes of workers on this machine; those of a test's commands alone."""
    numbers = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        number = int(entry.parent.name)
        is_kind = command.startswith(f"ray::{kind}")
        if is_kind and (root is None or is_of(number, root)):
            numbers.append(number)
    return sorted(numbers)


def is_of(number: int, root: int) -> bool:
    """Whether a process is one of a command's: it has that mark in its environment."""
    try:
        environment = Path(f"/proc/{number}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={root}".encode() in environment.split(b"\0")


def wait_until(look: Callable[[], object], seconds: float = 300) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Nodes:
    """An emulated cluster, asked from another process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._answer()

    def add(self, **settings: Any) -> int:
        """Adds a node, and returns its number."""
        return self._ask("add", settings)

    def remove(self, number: int) -> None:
        """Lets a node leave at once, with all processes on it."""
        self._ask("remove", number)

    def fill(self) -> int:
        """Takes the object store of the node with the resource `here`; returns how many
        bytes that were.
        """
        return self._ask("fill")

    def free(self) -> None:
        """Gives them back."""
        self._ask("free")

    def _ask(self, word: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        print(json.dumps([word, *arguments]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the emulated cluster has ended"
        return json.loads(line)


@contextmanager
def cluster(**head: Any) -> Iterator[Nodes]:
    """An emulated cluster, whose head has no workers; nodes are added by the test."""
    environment = os.environ | {
        # As the command has it where it starts Ray itself.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        MARK: str(os.getpid()),
    }
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(head)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Nodes(process)
    finally:
        # The end of its input ends it; Ray stops its own processes in some seconds.
        process.communicate(timeout=60)


class Other:
    """Another user of the cluster."""

    def take_all(self) -> int:
        """Takes all room of the store; returns how many bytes that are."""
        import ray

        self.held: list[object] = []
        # Large pieces first, and then smaller ones, until nothing more fits.
        size = 8 * 2**20
        total = 0
        while size > 1000:
            try:
                self.held.append(ray.put(b"x" * size))
                total += size
            except ray.exceptions.OutOfDiskError:
                size //= 2
        return total


def emulate(settings: dict[str, Any]) -> None:
    """Carries out orders, a line each, until its input ends."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, **settings}
    emulation = Cluster(initialize_head=True, connect=False, head_node_args=head)
    nodes: list[Any] = []
    print(json.dumps(emulation.address), flush=True)
    for line in sys.stdin:
        word, *arguments = json.loads(line)
        answer = None
        if word == "add":
            nodes.append(emulation.add_node(**arguments[0]))
            answer = len(nodes) - 1
        elif word == "remove":
            emulation.remove_node(nodes[arguments[0]])
        elif word == "fill":
            ray.init(address=emulation.address, log_to_driver=False)
            remote: Any = ray.remote(num_cpus=0, resources={"here": 1})
            other = remote(Other).remote()
            # Its node has the only resource of that name, so it is the store of that
            # node.
            answer = ray.get(other.take_all.remote(), timeout=60)
        elif word == "free":
            ray.shutdown()
        print(json.dumps(answer), flush=True)
    emulation.shutdown()


if __name__ == "__main__":
    emulate(json.loads(sys.argv[1]))
