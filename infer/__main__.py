"""`python -m infer`: the main command, or a subcommand by its name.

Imports happen as late as possible.
"""

import contextlib
import importlib
import os
import signal
import sys
from types import FrameType
from typing import TextIO

# First word of the command line -> module with a `main(arguments)` that returns the
# exit status.
COMMANDS = {
    "upscale": "infer.command.upscale",
    "plan": "infer.command.plan",
    "evaluate": "infer.evaluation.command",
    "doctor": "infer.command.doctor",
    "convert": "infer.command.convert",
    "export": "infer.command.convert",
    "ui": "infer.ui.command",
    "serve": "infer.command.serve",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    A failure becomes one line on stderr: 2 wrong use, 1 failed, 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else arguments
    name = "upscale"
    if words and words[0] in COMMANDS:
        name, words = words[0], words[1:]
    try:
        return importlib.import_module(COMMANDS[name]).main(words)
    except (Exception, KeyboardInterrupt) as error:
        from infer.command.failure import one_line, status

        if "--debug" in words and not isinstance(error, KeyboardInterrupt):
            raise
        with contextlib.suppress(OSError):
            print(one_line(error), file=sys.stderr)
        return status(error)


class _Interruption:
    """The first signal interrupts the work; another one ends the process at once, which
    is safe at every moment: finished parts are on the disk.
    """

    def __init__(self) -> None:
        self._is_second = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_second:
            os.write(2, b"interrupted at once: the same command goes on from there\n")
            os._exit(130)
        self._is_second = True
        raise KeyboardInterrupt


def _open_standard_streams() -> None:
    """Gives closed standard streams to /dev/null.

    Otherwise the next file that is opened would get the number of one of them, and
    FFmpeg's messages would be written into it.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number < 3:
        number = os.dup(number)
    os.close(number)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def run() -> None:
    """Entry of the process."""
    _open_standard_streams()
    interruption = _Interruption()
    signal.signal(signal.SIGTERM, interruption)
    # A shell ignores it for programs in the background, and so do we.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interruption)
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Nothing is left to be saved, and a traceback out of an exit handler says
        # nothing.
        signal.signal(number, signal.SIG_DFL)
    code = _flush_streams(code)
    if code == 130:
        os._exit(code)  # a frame in flight on the device would hold up a normal exit
    sys.exit(code)


def _flush_streams(code: int) -> int:
    """Returns the exit status: output that nobody takes is a failure, messages that
    nobody reads are none.
    """
    _flush(sys.stderr)
    is_written = _flush(sys.stdout)
    return code if is_written else code or 1


def _flush(stream: TextIO) -> bool:
    """Returns whether somebody has taken everything."""
    try:
        stream.flush()
    except OSError:
        # Python would try again at its end, and change the exit status for it.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        return False
    return True


if __name__ == "__main__":
    run()
