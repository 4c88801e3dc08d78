"""Speed and memory on this machine: python -m benchmarks [PIECE ...], of those that
--help lists.

Without a piece's name all of them run, for `nano` in about six minutes on two cores.
Weights are random (of the size asked for), made on the device; frames are noise:
neither changes the time. One table is printed, and results.json, results.md and
results.png are written to --out.

python -m benchmarks gpu        the full-size model on a lent GPU, under eight minutes
python -m benchmarks compile    for a GPU that is not there: does it compile, to how
many kernels python -m benchmarks bargains   what less work costs in quality, and what
it brings
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks import bare

bare.stand_in()


def main(arguments: list[str] | None = None) -> int:
    """The command; wrong use ends with status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["gpu"]:
        from benchmarks import gpu

        return gpu.main(arguments[1:])
    if arguments[:1] == ["bargains"]:
        from benchmarks import bargains

        return bargains.main(arguments[1:])
    if arguments[:1] == ["compile"]:
        from benchmarks import absent

        return absent.main(arguments[1:])
    return run(arguments)


def run(arguments: list[str]) -> int:
    """Run the pieces in their order; results are written after each."""
    from benchmarks import pieces, precisions, report
    from sdvsr_jax.config import PRESETS

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pieces", nargs="*", metavar="PIECE", help=", ".join(pieces.PIECES)
    )
    parser.add_argument(
        "--models", nargs="+", default=["nano"], choices=sorted(PRESETS)
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        default=["320x180"],
        help="LR sizes, WIDTHxHEIGHT; the first for torch",
    )
    parser.add_argument(
        "--precision", nargs="+", default=["float32"], choices=precisions.CHOICES
    )
    parser.add_argument("--frames", type=int, default=8, help="steady frames per row")
    parser.add_argument(
        "--profile",
        type=int,
        default=0,
        help="frames per row under the profiler, as well",
    )
    parser.add_argument(
        "--graphs", action="store_true", help="rows with CUDA graphs as well, on a GPU"
    )
    parser.add_argument("--sweep", nargs="+", help="LR sizes of the piece 'sizes'")
    parser.add_argument(
        "--stream-size", default="160x90", help="LR size of the piece 'streams'"
    )
    parser.add_argument(
        "--no-compiles", dest="compiles", action="store_false", help="compile cold only"
    )
    parser.add_argument(
        "--torch",
        nargs="+",
        default=["eager", "compiled"],
        choices=["eager", "compiled", "graphs"],
        help="how PyTorch runs; graphs: compiled, with CUDA graphs",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.pieces if name not in pieces.PIECES]:
        parser.error(
            f"unknown {', '.join(unknown)}: expected some of {', '.join(pieces.PIECES)}, or one of gpu, compile, "
            "bargains"
        )
    if options.frames < 1:
        parser.error(f"--frames {options.frames}: expected at least 1")
    chosen = [
        name for name in pieces.PIECES if not options.pieces or name in options.pieces
    ]
    began = time.perf_counter()
    results = pieces.empty(options.precision, bool(pieces.NEEDS_PEAKS & set(chosen)))
    for name in chosen:
        if name in pieces.NEEDS_FILES and (
            lack := bare.missing("av", "tyro", "rich", "safetensors")
        ):
            print(f"{name:8} not measured: {', '.join(lack)} not installed")
            continue
        pieces.PIECES[name](options, results)
        results["seconds"] = time.perf_counter() - began
        report.write_json(options.out / "results.json", results)
    report.finish(options.out, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
