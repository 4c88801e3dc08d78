"""What several workers bring (docs/cluster.md).

python -m benchmarks.workers run            a core, a worker with one, two of them
python -m benchmarks.workers plan           the plan for a long film, by given costs

`run` upscales a film of thirty scenes with real processes and prints how long each
command took, and what the plan says. `plan` plays the plan of a film through, whose
scenes have random lengths, and adds what the start, the first pass and the way of the
results take.
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
    run.add_argument("--workers", type=int, nargs="+", default=[2])
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
    """Runs the command on one core without and with a worker, then with workers of one
    core each. A short film before lets nobody compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        brief = argparse.Namespace(**{**vars(options), "scenes": 2, "frames": 4})
        make_film(place / "brief.mkv", brief)
        for words in ([], ["--workers", "1"]):
            seconds_of(place / "brief.mkv", words, options, 1)
        film = place / "film.mkv"
        make_film(film, options)
        plain, content = seconds_of(film, [], options, 1)
        print(f"one core                {plain:8.1f} s")
        for count in dict.fromkeys((1, *options.workers)):
            words = ["--workers", str(count)]
            seconds, shared = seconds_of(film, words, options, count)
            expected = plain * share_of(options, count)
            print(
                f"{count} workers, {count} cores    {seconds:8.1f} s"
                f"  {seconds / plain:5.2f} of one core, the plan's part of it "
                f"{expected:.1f} s; same bytes {shared == content}"
            )


def share_of(options: argparse.Namespace, num_workers: int) -> float:
    """The plan's part of a film: what so many workers take, one taking 1."""
    total = options.scenes * options.frames
    cuts = tuple(range(0, total, options.frames))
    film = Film(total, options.segment, cuts)
    return forecast(film, num_workers).longest / total


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


def seconds_of(
    film: Path, words: list[str], options: argparse.Namespace, num_cores: int
) -> tuple[float, bytes]:
    """Runs the command on so many cores; returns its time, and its output."""
    output = film.with_name("output.mkv")
    # In the child alone: this process may go on where it likes.
    pin = f"import os; os.sched_setaffinity(0, {set(range(num_cores))}); "
    code = pin + "import runpy; runpy.run_module('infer', run_name='__main__')"
    common = ["--segment", str(options.segment), "--threads", "1", "--device", "cpu"]
    files = ["--video", str(film), "-o", str(output), "--overwrite"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *files, *common, *words]
    begin = time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    return time.perf_counter() - begin, output.read_bytes()


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
