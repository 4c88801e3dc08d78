"""The lock of a command that works on a bucket: an object beside the outputs, with its
owner and the time at which the owner was last there.

A bucket knows no locks of its own, and the owner may be on another machine: so an owner
that has not been there for some time is taken for dead. One of this machine is asked.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from typing import Any, NamedTuple, Self

from infer.console import say
from infer.errors import JobError

BEAT = 20.0
"""Seconds between two signs of life."""
STALE = 120.0
"""Seconds without one after which an owner is dead. Clocks of two machines that differ
by more than the rest make a living one look so; it ends before it stores anything.
"""


class Owner(NamedTuple):
    """Who works: a command, its process, and its last sign of life in Unix time."""

    token: str
    host: str
    process: int
    seen: float

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return time.time() - self.seen

    @property
    def is_alive(self) -> bool:
        """Whether it may be at work."""
        is_here = self.host == socket.gethostname()
        return self.age < STALE and not (is_here and _is_gone(self.process))


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


class BucketLock:
    """Context manager: held by one command at a time; JobError if another has it.

    system: of fsspec. place: of the outputs in it. name: of the command.
    """

    def __init__(self, system: Any, place: str, name: str) -> None:
        self._system = system
        self._place = place.rstrip("/")
        self._path = f"{self._place}/.sdvsr_{name}.lock"
        self._token = secrets.token_hex(8)
        self._has_ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="lock", daemon=True)

    def __enter__(self) -> Self:
        owner = self._owner()
        if owner is not None and owner.is_alive:
            raise self._refusal(owner)
        if owner is not None:
            say(f"note     a run on {owner.host} has died: this one goes on")
            self._remove()
        self._system.makedirs(self._place, exist_ok=True)
        self._create()
        # Two may have come as far as this: where a store has no exclusive writing, the
        # last one stays, and each looks whether that is itself.
        self.require()
        self._beating.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._has_ended.set()
        self._beating.join()
        with contextlib.suppress(OSError, JobError):
            self.require()
            self._remove()

    def require(self) -> None:
        """Raises JobError unless this command has the lock still."""
        owner = self._owner()
        if owner is None:
            raise JobError(
                f"{self._name}: is gone, expected this command's lock: somebody has "
                "removed it; the same command goes on"
            )
        if owner.token != self._token:
            raise self._refusal(owner)

    def _beat(self) -> None:
        """Gives signs of life until the end, or until another has the lock."""
        while not self._has_ended.wait(BEAT):
            try:
                self.require()
                self._system.pipe_file(self._path, self._content())
            except JobError:
                return  # told where something is to be stored
            except OSError as error:
                say(f"warning  {self._name}: {error}")

    def _owner(self) -> Owner | None:
        self._system.invalidate_cache()
        try:
            content = self._system.cat_file(self._path)
            return Owner(**json.loads(content))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            raise JobError(f"{self._name}: is no lock; remove it") from None

    def _create(self) -> None:
        try:
            self._system.pipe_file(self._path, self._content(), mode="create")
        except FileExistsError:
            pass  # somebody was faster
        except (NotImplementedError, TypeError):
            # A store that has no such mode.
            self._system.pipe_file(self._path, self._content())

    def _content(self) -> bytes:
        host = socket.gethostname()
        process = os.getpid()
        owner = Owner(self._token, host, process, seen=time.time())
        text = json.dumps(owner._asdict())
        return text.encode()

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path)

    def _refusal(self, owner: Owner) -> JobError:
        return JobError(
            f"{self._name}: the same command is at work on {owner.host}, process "
            f"{owner.process}, seen {max(0, owner.age):.0f} s ago: wait for its end; "
            f"once it is silent for {STALE:g} s, this command goes on in its place"
        )

    @property
    def _name(self) -> str:
        return self._system.unstrip_protocol(self._path)
