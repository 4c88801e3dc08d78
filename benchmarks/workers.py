"""Several workers beside one (docs/cluster.md).

python -m benchmarks.workers run            a core, a worker with one, two of them
python -m benchmarks.workers plan           the plan for a long film, by given costs

`run` upscales a film of thirty scenes with real processes and prints how long each
command took, and what the plan says. `plan` plays the plan of a film through, whose
scenes have random lengths, and adds the time of the start, the first pass and the way
of the results.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.clock import timed
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
    add = run.add_argument
    add("--width", type=int, default=96)
    add("--scenes", type=int, default=30)
    add("--frames", type=int, default=20, help="of a scene")
    add("--segment", type=int, default=20)
    add("--workers", type=int, nargs="+", default=[2])
    plan = commands.add_parser("plan")
    plan.set_defaults(do=print_plan)
    add = plan.add_argument
    add("--hours", type=float, default=2.0)
    add("--rate", type=float, default=24.0)
    add("--scene", type=float, default=4.0, help="mean seconds")
    add("--segment", type=int, default=120)
    add("--workers", type=int, nargs="+", default=[2, 4, 8, 16, 64])
    add("--frame", type=float, default=1.0, help="seconds of a frame")
    add("--look", type=float, default=0.0, help="seconds of a frame in the first pass")
    add("--start", type=float, default=0.0, help="seconds of a worker")
    add("--commit", type=float, default=0.0, help="seconds of a group at the driver")
    return parser


def measure(options: argparse.Namespace) -> None:
    """Runs the command on one core without and with a worker, then with workers of one
    core each. A short film before lets nobody compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        brief = argparse.Namespace(**{**vars(options), "scenes": 2, "frames": 4})
        write_film(place / "brief.mkv", brief)
        for words in ([], ["--workers", "1"]):
            seconds_of(place / "brief.mkv", words, options, 1)
        film = place / "film.mkv"
        write_film(film, options)
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
    """The share of one worker's time that the plan gives to so many."""
    total = options.scenes * options.frames
    cuts = tuple(range(0, total, options.frames))
    film = Film(total, options.segment, cuts)
    return forecast(film, num_workers).longest / total


def write_film(path: Path, options: argparse.Namespace) -> None:
    """Writes scenes that show the clip in turns as it is, mirrored and negative."""
    width = options.width
    height = width * 9 // 16 // 2 * 2
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for picture in _pictures(width, height, options):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _pictures(
    width: int, height: int, options: argparse.Namespace
) -> Iterator[np.ndarray]:
    with av.open(str(CLIP)) as source:
        frames = source.decode(video=0)
        clip = [frame.reformat(width, height, "rgb24").to_ndarray() for frame in frames]
    for scene in range(options.scenes):
        for number in range(options.frames):
            picture = clip[number % len(clip)]
            # Scenes next to each other always differ in the first of these.
            picture = picture[:, ::-1] if scene & 1 else picture
            picture = 255 - picture if scene & 2 else picture
            yield np.ascontiguousarray(picture)


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
    run = partial(subprocess.run, command, env=environment, check=True)
    _, seconds = timed(run)
    return seconds, output.read_bytes()


def print_plan(options: argparse.Namespace) -> None:
    """Prints a row of docs/cluster.md for each number of workers."""
    film = random_film(options)
    print(f"{film.total} frames, {len(film.cuts)} scenes")
    print("| workers | hours | times as fast as one | frames computed twice |")
    print("|---:|---:|---:|---:|")
    one = film.total * options.frame
    for count in options.workers:
        plan = forecast(film, count)
        looking = film.total * options.look / count
        # The driver puts one group at a time into the work folder; it is waited for
        # where it is slower than all workers.
        committing = film.num_groups * options.commit
        working = max(plan.longest * options.frame, committing)
        seconds = options.start + looking + working
        hours = seconds / 3600
        gain = one / seconds
        print(f"| {count} | {hours:.2f} | {gain:.1f} | {plan.waste / film.total:.2%} |")


def random_film(options: argparse.Namespace) -> Film:
    """A film whose scenes have lengths by chance, exponentially."""
    chance = random.Random(SEED)
    total = round(options.hours * 3600 * options.rate)
    mean = options.scene * options.rate
    cuts = []
    cut = 0
    while cut < total:
        cuts.append(cut)
        cut += max(1, round(chance.expovariate(1 / mean)))
    return Film(total, options.segment, tuple(cuts))


if __name__ == "__main__":
    sys.exit(main())
