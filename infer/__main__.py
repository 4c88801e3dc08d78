"""`python -m infer`: the main command, or a subcommand by its name. Imports happen as
late as possible.
"""

import importlib
import os
import signal
import sys
from types import FrameType

COMMANDS = {
    "upscale": "infer.command.upscale",
    "evaluate": "infer.evaluation.command",
    "doctor": "infer.command.doctor",
    "convert": "infer.command.convert",
    "export": "infer.command.convert",
}
"""First word of the command line -> module with a `main(arguments)` that returns the
exit status.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; failures become one line on stderr and a status: 2 wrong use, 1
    failed, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    name, rest = (
        (arguments[0], arguments[1:])
        if arguments[:1] and arguments[0] in COMMANDS
        else ("upscale", arguments)
    )
    try:
        return importlib.import_module(COMMANDS[name]).main(rest)
    except (Exception, KeyboardInterrupt) as error:
        from infer.command.failure import one_line, status

        if "--debug" in rest and not isinstance(error, KeyboardInterrupt):
            raise
        print(one_line(error), file=sys.stderr)
        return status(error)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run() -> None:
    """Entry of the process."""
    signal.signal(signal.SIGTERM, _stop)
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.SIG_DFL
        )  # nothing is left to be saved; no traceback out of an exit handler
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 130:
        os._exit(code)  # a frame in flight on the device would hold up a normal exit
    sys.exit(code)


if __name__ == "__main__":
    run()
