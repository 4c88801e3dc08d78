"""Speed and memory on this machine.

frame     compile time, steady frames, arithmetic, memory; forms in turns
against   what else computes it, or would be picked instead, in turns
startup   a fresh process to its first frame
media     a frame in a real file job, by codec
sizes     cost against the number of pixels
streams   frames/s against the number of streams in a batch
compile   for a GPU that is not there: kernels and memory
gpu       all that needs a GPU, within ten minutes

Without a name: frame, startup, media, sizes and streams, for `nano` in about six
minutes on two cores. Weights are random (of the size asked for), frames are noise:
neither changes the time. results.json and results.md are written to --out.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import against, compile, frame, gpu, machine, report, startup
from sdvsr_jax.config import PRESETS

PIECES: dict[str, Callable[[argparse.Namespace, report.Results], None]] = {
    "frame": frame.run,
    "against": against.run,
    "startup": startup.run,
    "media": startup.run_media,
    "sizes": frame.run_sizes,
    "streams": frame.run_streams,
}
COMMANDS = {"compile": compile.run, "gpu": gpu.run}
# Not against, which needs PyTorch, nor the two that need a GPU or its compiler.
EVERYTHING = ["frame", "startup", "media", "sizes", "streams"]


def main(arguments: list[str] | None = None) -> int:
    """The command; wrong use ends with status 2."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    pieces = options.pieces or EVERYTHING
    first, *_ = pieces
    # These two print and write in their own way, so they stand alone.
    if first in COMMANDS:
        command = COMMANDS[first]
        return command(options)
    unknown = [name for name in pieces if name not in PIECES]
    if unknown:
        names = ", ".join(unknown)
        known = ", ".join([*PIECES, *COMMANDS])
        parser.error(f"unknown {names}: expected some of {known}")
    results: report.Results = {"machine": machine.describe(), "rows": []}
    for name in pieces:
        measure = PIECES[name]
        measure(options, results)
        # A run may be stopped: what was measured is on disk by then.
        report.write_json(options.out / "results.json", results)
    report.finish(options.out, results)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all pieces, with the options of all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("pieces", nargs="*", metavar="PIECE")
    # One flat list: pieces share most options, and several run in one command.
    add("--models", nargs="+", default=["nano"], choices=sorted(PRESETS))
    add("--sizes", nargs="+", default=["320x180"], help="LR sizes, WIDTHxHEIGHT")
    add("--precision", nargs="+", default=["float32"], choices=report.PRECISIONS)
    add("--frames", type=count, default=8, help="steady frames, or rounds in turns")
    add("--batches", type=count, nargs="+", help="streams in a batch")
    add("--graphs", action="store_true", help="frame: CUDA graphs as well")
    add("--profile", type=int, default=0, help="frame: frames under a profiler")
    modes = against.MODES
    add("--torch", nargs="+", default=["eager", "compiled"], choices=modes)
    add("--codecs", nargs="+", default=["libx264"], help="media: encoders")
    add("--sweep", nargs="+", help="sizes: LR sizes")
    add("--device", default="h200", choices=sorted(compile.TARGETS), help="compile")
    add("--only", nargs="+", help="gpu: names of its pieces")
    add("--trees", type=Path, nargs="+", default=[], help="gpu: checkouts to compare")
    add("--published", default="stream_diffvsr", help="gpu: the large model")
    add("--budget", type=float, default=gpu.BUDGET_SECONDS, help="gpu: seconds")
    add("--out", type=Path, default=Path("runs/benchmarks"))
    return parser


def count(text: str) -> int:
    """Parses a number of frames or streams."""
    is_number = text.isdecimal()
    if not is_number or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
