"""Kills a process before its Nth operation on files of a folder, or only counts them.

    python -m tests.attack.killer FOLDER NUMBER COMMAND...

Python's own audit events announce each operation of a process. Writes of FFmpeg between
two of them are killed with the process, as by a loss of power.
"""

import os
import signal
import sys
from collections.abc import Callable

CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
    "shutil.copyfile",
}
"""Audit events that change files; a rename over a file is one of them."""
NO_FOLDER = -1
"""In the place of an open folder's number, where none is given."""


def changes_files(event: str, arguments: tuple) -> bool:
    """Whether an audit event is about to change files."""
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & os.O_ACCMODE)
    return event in CHANGES


def touches(folder: str, event: str, arguments: tuple) -> bool:
    """Whether a path below the folder, or one relative to an open folder, is meant."""
    if event == "open":
        # The mode behind the path is a word, too.
        arguments = (*arguments[:1], NO_FOLDER)
    for argument in arguments:
        if isinstance(argument, bytes):
            argument = os.fsdecode(argument)
        if isinstance(argument, str | os.PathLike):
            path = os.path.join(os.getcwd(), os.fspath(argument))
            if path.startswith(folder):
                return True
    # relative names with the number of an open folder, as rmtree uses them
    names = [a for a in arguments if isinstance(a, str)]
    is_relative = any("/" not in name and name for name in names)
    return is_relative and NO_FOLDER not in arguments


class Killer:
    """An audit hook that calls ``kill`` before operation ``number`` (from 0) and before
    each later one; it counts them all. A negative number only counts.
    """

    def __init__(self, folder: str, number: int, kill: Callable[[], None]) -> None:
        self._folder = folder
        self._number = number
        self._kill = kill
        self.count = 0
        self.operations: list[str] = []
        self.is_armed = True

    def __call__(self, event: str, arguments: tuple) -> None:
        if not self.is_armed or not changes_files(event, arguments):
            return
        if not touches(self._folder, event, arguments):
            return
        self.operations.append(f"{event} {arguments[0]}")
        self.count += 1
        if 0 <= self._number < self.count:
            self._kill()


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the command of the project with a killer at its side."""
    folder, number, *words = sys.argv[1:]
    killer = Killer(folder, int(number), _kill_this_process)
    # Before the command is imported: no operation is missed.
    sys.addaudithook(killer)
    from infer.__main__ import main as command

    status = command(words)
    # The interpreter's own end removes files, too.
    killer.is_armed = False
    print(f"operations {killer.count}")
    sys.stdout.flush()
    sys.exit(status)


if __name__ == "__main__":
    main()
