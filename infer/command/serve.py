"""`python -m infer serve streams.toml`: many live streams that share a device."""

import os
import signal
import threading
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

import tyro

from infer.command.streams_file import StreamsFile, read_streams
from infer.console import say
from infer.errors import JobError

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
    from infer.command.serve_numbers import Numbers
    from infer.jobs.live_pool import LivePool

    pool = LivePool(content.limit)
    commands = Commands()
    with commands, Numbers(pool, content.listen) as numbers:
        host, port = numbers.address
        say(f"serve    {len(content.wishes)} streams of {options.file}")
        say(f"numbers  http://{host}:{port}/metrics and /healthz")
        watch = Watch(options.file, content)
        while not commands.ends.wait(TICK):
            if watch.has_news(commands):
                pool.forget_failures()
            pool.want(watch.content.wishes)
            pool.look_after()
            sessions = pool.sessions.values()
            if options.once and all(session.is_over for session in sessions):
                break
        numbers.is_draining = True
        failures = [session for session in pool.sessions.values() if session.reason]
        if not pool.drain(DRAIN):
            raise JobError(f"not all streams have ended within {DRAIN:g} s")
    say("drained  all streams have ended")
    return 1 if options.once and failures else 0


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
        before = self.content
        if (content.listen, content.limit) != (before.listen, before.limit):
            say("warning  listen and limit are read at the start alone")
        self.content = content
        say(f"reload   {len(content.wishes)} streams of {self._path}")
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
        self._handlers = {n: signal.signal(n, self._hear) for n in numbers}
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
