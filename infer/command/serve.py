"""`python -m infer serve streams.toml`: many live streams that share a device."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Protocol

import tyro

from infer.command.streams_file import StreamsFile, Wish, read_streams
from infer.command.upscale import require_ray
from infer.console import say
from infer.errors import JobError

if TYPE_CHECKING:
    from infer.jobs.live_pool import DeviceFacts, StreamFacts

arg = tyro.conf.arg
TICK = 0.2
"""Seconds between two looks at streams and file."""
DRAIN = 30.0
"""Seconds in which streams end after their frame in hand."""
AT_ONCE = 130
"""Exit status of a server that was told twice."""


@dataclass(frozen=True)
class ServeOptions:
    """Upscale many live streams on one device, as a file of them says
    (docs/serve.md).
    """

    file: Annotated[tyro.conf.Positional[str], arg(metavar="STREAMS.toml")]
    """Streams, each with source, output, model, size. It is read again when it
    changes, and on SIGHUP.
    """
    once: bool = False
    """End when all streams have ended, instead of waiting for further ones."""
    debug: bool = False
    """Show tracebacks."""


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; 0 if everything went well.

    With ``--once`` 1 if any stream has failed or was refused.
    """
    options = tyro.cli(ServeOptions, args=arguments, prog="python -m infer serve")
    content = read_streams(options.file)
    commands = Commands()
    with commands, _devices(content) as pool:
        return _serve(options, content, pool, commands)


@contextmanager
def _devices(content: StreamsFile) -> "Iterator[Pool]":
    """The device of this process, or several by Ray."""
    if content.crew is None:
        from infer.jobs.live_pool import LivePool

        yield LivePool(content.limit)
        return
    require_ray()
    from infer.cluster.streams import posts

    with posts(content.crew, content.limit) as several:
        yield several


def _serve(
    options: ServeOptions, content: StreamsFile, pool: "Pool", commands: "Commands"
) -> int:
    from infer.command.serve_numbers import Numbers

    with Numbers(pool, content.listen) as numbers:
        host, port = numbers.address
        num_streams = len(content.wishes)
        say(f"serve    {num_streams} streams of {options.file}")
        say(f"numbers  http://{host}:{port}/metrics and /healthz")
        watch = Watch(options.file, content)
        while not commands.ends.wait(TICK):
            if watch.has_news(commands):
                pool.forget_failures()
            pool.want(watch.content.wishes)
            pool.look_after()
            streams = pool.streams().values()
            if options.once and all(stream.is_over for stream in streams):
                break
        numbers.is_draining = True
        # Asked before the drain, which ends all streams.
        streams = pool.streams().values()
        failures = [stream for stream in streams if stream.reason]
        if not pool.drain(DRAIN):
            raise JobError(f"not all streams have ended within {DRAIN:g} s")
    say("drained  all streams have ended")
    return 1 if options.once and failures else 0


class Pool(Protocol):
    """One device or several, with the streams that are wanted. Any thread may ask for
    `streams` and `devices`.
    """

    def want(self, wishes: tuple[Wish, ...]) -> None:
        """Begins streams that are new, and stops those that are gone or changed."""
        ...

    def forget_failures(self) -> None:
        """Lets streams that have failed, or were refused, begin again."""
        ...

    def look_after(self) -> None:
        """Does what has become necessary."""
        ...

    def streams(self) -> "dict[str, StreamFacts]":
        """How each stream is, by its name."""
        ...

    def devices(self) -> "list[DeviceFacts]":
        """How each device is."""
        ...

    def drain(self, patience: float) -> bool:
        """Ends all streams; returns whether they have ended in time."""
        ...


class Watch:
    """The file, read again when it changes; one that makes no sense changes nothing."""

    def __init__(self, path: str, content: StreamsFile) -> None:
        self._path = path
        self._state = self._look()
        self.content = content

    def has_news(self, commands: "Commands") -> bool:
        """Whether the file was read again."""
        state = self._look()
        is_asked = commands.reads.is_set()
        if state == self._state and not is_asked:
            return False
        commands.reads.clear()
        self._state = state
        try:
            content = read_streams(self._path)
        except (OSError, ValueError) as error:
            say(f"warning  {error}: the streams stay as they are")
            return False
        rest = replace(content, wishes=())
        rest_before = replace(self.content, wishes=())
        if rest != rest_before:
            say("warning  all but the streams is read at the start alone")
        self.content = content
        num_streams = len(content.wishes)
        say(f"reload   {num_streams} streams of {self._path}")
        return True

    def _look(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


class Commands:
    """Requests by signals: ends (SIGTERM, SIGINT) and reads (SIGHUP). A second signal
    to end ends at once.
    """

    def __init__(self) -> None:
        self.ends = threading.Event()
        self.reads = threading.Event()
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "Commands":
        if threading.current_thread() is not threading.main_thread():
            return self
        numbers = [signal.SIGTERM, signal.SIGINT]
        if hasattr(signal, "SIGHUP"):  # not on Windows
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._handlers[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number not in (signal.SIGTERM, signal.SIGINT):
            self.reads.set()
        elif self.ends.is_set():
            os._exit(AT_ONCE)
        else:
            self.ends.set()
