"""What several workers bring (docs/cluster.md).

python -m benchmarks.workers run            one worker with one core, then two of them
python -m benchmarks.workers plan           the plan for a long film, by given costs

`run` upscales a film of thirty scenes with real processes and prints how long each
command took. `plan` plays the plan of a film through, whose scenes have random lengths,
and adds what the start, the first pass and the way of the results take.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from infer.cluster.spans import Film, forecast

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"
SEED = 0


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    options = build_parser().parse_args(arguments)
    options.do(options)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of both commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run")
    run.set_defaults(do=measure)
    run.add_argument("--width", type=int, default=96)
    run.add_argument("--scenes", type=int, default=30)
    run.add_argument("--frames", type=int, default=20, help="of a scene")
    run.add_argument("--segment", type=int, default=20)
    run.add_argument("--workers", type=int, default=2)
    plan = commands.add_parser("plan")
    plan.set_defaults(do=tell_plan)
    plan.add_argument("--hours", type=float, default=2.0)
    plan.add_argument("--rate", type=float, default=24.0)
    plan.add_argument("--scene", type=float, default=4.0, help="mean seconds")
    plan.add_argument("--segment", type=int, default=120)
    plan.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8, 16, 64])
    plan.add_argument("--frame", type=float, default=1.0, help="seconds of a frame")
    plan.add_argument(
        "--look", type=float, default=0.0, help="seconds of a frame in the first pass"
    )
    plan.add_argument("--start", type=float, default=0.0, help="seconds of a worker")
    plan.add_argument(
        "--commit", type=float, default=0.0, help="seconds of a group at the driver"
    )
    return parser


def measure(options: argparse.Namespace) -> None:
    """Runs the command once on one core, and once with workers of one core each."""
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mkv"
        make_film(film, options)
        words = ["--video", str(film), "--segment", str(options.segment)]
        words += ["--threads", "1", "--device", "cpu"]
        alone = Path(folder) / "alone.mkv"
        shared = Path(folder) / "shared.mkv"
        one = seconds_of([*words, "-o", str(alone)], cores={0})
        cores = set(range(options.workers))
        more = ["-o", str(shared), "--workers", str(options.workers)]
        many = seconds_of([*words, *more], cores)
        is_same = alone.read_bytes() == shared.read_bytes()
    print(f"one core            {one:8.1f} s")
    print(f"{options.workers} workers, {len(cores)} cores  {many:8.1f} s")
    print(f"share               {many / one:8.2f}")
    print(f"same bytes          {is_same!s:>8}")


def make_film(path: Path, options: argparse.Namespace) -> None:
    """Writes scenes that show the clip from other sides, cut hard."""
    width = options.width
    height = width * 9 // 16 // 2 * 2
    with av.open(str(CLIP)) as source:
        pictures = [
            frame.reformat(width, height, "rgb24").to_ndarray()
            for frame in source.decode(video=0)
        ]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for scene in range(options.scenes):
            for number in range(options.frames):
                rgb = pictures[number % len(pictures)]
                rgb = rgb[:: -1 if scene & 1 else 1, :: -1 if scene & 2 else 1]
                rgb = 255 - rgb if scene & 4 else rgb
                picture: np.ndarray = np.roll(rgb, 7 * scene, 1).copy()
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def seconds_of(words: list[str], cores: set[int]) -> float:
    """Runs the command on these cores."""
    begin = time.perf_counter()
    # In the child alone: this process may go on where it likes.
    pin = f"import os, sys; os.sched_setaffinity(0, {cores}); "
    code = pin + "import runpy; runpy.run_module('infer', run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, *words], env=environment, check=True)
    return time.perf_counter() - begin


def tell_plan(options: argparse.Namespace) -> None:
    """Prints a row of docs/cluster.md for each number of workers."""
    film = random_film(options)
    print(f"{film.total} frames, {len(film.cuts)} scenes")
    print("| workers | hours | times as fast as one | frames computed twice |")
    print("|---:|---:|---:|---:|")
    alone = film.total * options.frame
    for count in options.workers:
        seconds, waste = duration(film, count, options)
        share = waste / film.total
        print(
            f"| {count} | {seconds / 3600:.2f} | {alone / seconds:.1f} | {share:.2%} |"
        )


def random_film(options: argparse.Namespace) -> Film:
    """A film whose scenes have lengths by chance, exponentially."""
    chance = random.Random(SEED)
    total = round(options.hours * 3600 * options.rate)
    cuts = [0]
    while cuts[-1] < total:
        length = chance.expovariate(1 / (options.scene * options.rate))
        cuts.append(cuts[-1] + max(1, round(length)))
    return Film(total, options.segment, tuple(cut for cut in cuts if cut < total))


def duration(
    film: Film, num_workers: int, options: argparse.Namespace
) -> tuple[float, int]:
    """Seconds of the whole job, and frames computed twice.

    The driver puts one group at a time into the work folder; it is waited for where it
    is slower than all workers.
    """
    plan = forecast(film, num_workers)
    looking = film.total * options.look / num_workers
    working = plan.longest * options.frame
    committing = film.num_groups * options.commit
    seconds = options.start + looking + max(working, committing)
    return seconds, plan.waste


if __name__ == "__main__":
    sys.exit(main())
