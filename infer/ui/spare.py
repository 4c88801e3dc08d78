"""A process that has imported everything and waits for a command line, so that the
first frame of a preview does not wait for that: `python -m infer.ui.spare`.

Standard input is a socket to the server. One message with the words comes through it,
and with it the open files of the lock and of the log. If the server ends before, so
does the process.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

HEAVY = ("infer.jobs.plan", "infer.jobs.file_job", "infer.model.memory_plan")
"""What a file job imports; jax alone takes two seconds. No device is touched yet."""
LONGEST = 2**20
"""Bytes of a message: paths and options."""


class Spare:
    """The server's end: one process in reserve."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def prepare(self) -> None:
        """Start the process, unless it waits already."""
        if self._child is not None and self._child.poll() is None:
            return
        self.dismiss()
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "infer.ui.spare"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours

    def take(self, task: dict[str, Any], files: list[int]) -> Any:
        """Returns the process, which now does the task; None if there is none."""
        child = self._child
        channel = self._socket
        self._child = None
        self._socket = None
        if child is None or channel is None or child.poll() is not None:
            return None
        with channel:
            try:
                message = json.dumps(task).encode()
                socket.send_fds(channel, [message], files)
            except OSError:
                child.kill()
                return None
        return child

    def dismiss(self) -> None:
        """End the process that waits."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        if self._socket is not None:
            self._socket.close()
        self._child = self._socket = None


def main() -> None:
    """Import, wait, and become the command."""
    for name in HEAVY:
        importlib.import_module(name)
    with socket.socket(fileno=os.dup(0)) as channel:
        message, files, _, _ = socket.recv_fds(channel, LONGEST, 2)
    if not message:
        return
    task = json.loads(message)
    # the first file is the lock, which only has to stay open
    _, log = files
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(log, 2)
    os.environ.update(task["environment"])
    sys.argv[1:] = task["words"]
    importlib.import_module("infer.__main__").run()


if __name__ == "__main__":
    main()
