"""``python -m benchmarks [command] [options]``; each command prints a table, ``--json`` keeps it.

table     compile times, first and steady frames, memory, share of the measured peak (the default)
parts     where a frame's time goes
sizes     cost against frame size, from 160x90 to the largest that fits
streams   cost against the number of streams, which join and leave meanwhile
startup   a fresh process of the real command, to its first frame: cold, warm, with kept programs
compare   beside PyTorch, same weights, outputs compared (needs torch)
bargains  what each inexact shortcut gains, and costs in quality
gpu       all of it at full size, within 8 minutes: for a GPU
"""

import importlib
import sys

COMMANDS = {
    "table": "latency",
    "parts": "parts",
    "sizes": "sizes",
    "streams": "streams",
    "startup": "startup",
    "compare": "compare",
    "bargains": "bargains",
    "gpu": "gpu",
}
"""Command -> module here with a `main(arguments)`."""


def main() -> None:
    """Run one command."""
    words = sys.argv[1:]
    if words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return
    name = words.pop(0) if words and words[0] in COMMANDS else "table"
    importlib.import_module(f"benchmarks.{COMMANDS[name]}").main(words)


if __name__ == "__main__":
    main()
