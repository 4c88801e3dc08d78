"""Several workers beside one (docs/cluster.md).

python -m benchmarks.workers run            a core, a worker with one, two of them
python -m benchmarks.workers plan           the plan for a long film, by given costs

`run` upscales a film of thirty scenes with real processes and prints how long each
command took, and what the plan says. `plan` plays the plan of a film through, whose
scenes have random lengths, and adds the time of the start, the first pass and the way
of the results.
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.clock import timed
from benchmarks.startup import CLIP
from infer.cluster.spans import Film, forecast

SEED = 0


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = build_parser()
    options = parser.parse_args(arguments)
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
    # The numbers of docs/cluster.md.
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
        brief = Path(folder) / "brief.mkv"
        write_film(brief, options.width, num_scenes=2, frames=4)
        for num_workers in (0, 1):
            seconds_of(brief, options.segment, num_workers)
        path = Path(folder) / "film.mkv"
        write_film(path, options.width, options.scenes, options.frames)
        plain, content = seconds_of(path, options.segment, 0)
        print(f"one core                {plain:8.1f} s")
        total = options.scenes * options.frames
        cuts = range(0, total, options.frames)
        film = Film(total, options.segment, tuple(cuts))
        for count in dict.fromkeys((1, *options.workers)):
            seconds, shared = seconds_of(path, options.segment, count)
            plan = forecast(film, count)
            expected = plain * plan.longest / total
            print(
                f"{count} workers, {count} cores    {seconds:8.1f} s"
                f"  {seconds / plain:5.2f} of one core, the plan's part of it "
                f"{expected:.1f} s; same bytes {shared == content}"
            )


def write_film(path: Path, width: int, num_scenes: int, frames: int) -> None:
    """Writes scenes that show the clip in turns as it is, mirrored and negative."""
    height = width * 9 // 16 // 2 * 2
    with av.open(str(CLIP)) as source:
        decoded = source.decode(video=0)
        small = [frame.reformat(width, height, "rgb24") for frame in decoded]
        clip: list[np.ndarray] = [frame.to_ndarray() for frame in small]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for scene, number in itertools.product(range(num_scenes), range(frames)):
            picture = clip[number % len(clip)]
            # Scenes next to each other always differ in the first of these.
            if scene & 1:
                picture = picture[:, ::-1]
            if scene & 2:
                picture = 255 - picture
            pixels = np.ascontiguousarray(picture)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def seconds_of(film: Path, segment: int, num_workers: int) -> tuple[float, bytes]:
    """Runs the command on a core for each worker (without any on one); returns its
    time, and its output.
    """
    output = film.with_name("output.mkv")
    cores = set(range(max(1, num_workers)))
    # In the child alone: this process may go on where it likes.
    pin = f"import os; os.sched_setaffinity(0, {cores}); "
    code = pin + "import runpy; runpy.run_module('infer', run_name='__main__')"
    words = f"--overwrite --segment {segment} --threads 1 --device cpu".split()
    if num_workers:
        words += ["--workers", str(num_workers)]
    files = ["--video", str(film), "-o", str(output)]
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-c", code, *files, *words]
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
        look = film.total * options.look / count
        work = plan.longest * options.frame
        # The driver puts one group at a time into the work folder; it is waited for
        # where it is slower than all workers.
        commit = film.num_groups * options.commit
        seconds = options.start + look + max(work, commit)
        hours = seconds / 3600
        gain = one / seconds
        waste = plan.waste / film.total
        print(f"| {count} | {hours:.2f} | {gain:.1f} | {waste:.2%} |")


def random_film(options: argparse.Namespace) -> Film:
    """A film whose scenes have lengths by chance, exponentially."""
    chance = random.Random(SEED)
    total = round(options.hours * 3600 * options.rate)
    mean = options.scene * options.rate
    cuts = []
    cut = 0
    while cut < total:
        cuts.append(cut)
        length = round(chance.expovariate(1 / mean))
        cut += max(1, length)
    return Film(total, options.segment, tuple(cuts))


if __name__ == "__main__":
    sys.exit(main())
