"""Several workers beside one (docs/cluster.md).

python -m benchmarks.workers run            one worker with one core, then two of them
python -m benchmarks.workers plan           the plan for a long film, by given costs

`run` upscales a film of thirty scenes with real processes and prints how long each
command took. `plan` plays the plan of a film through, whose scenes have random lengths,
and adds the time of the start, the first pass and the way of the results.
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
    add("--workers", type=int, default=2)
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
    """Runs the command once on one core, and once with workers of one core each."""
    workers = options.workers
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mkv"
        write_film(film, options)
        words = f"--video {film} --segment {options.segment} --threads 1 --device cpu"
        single = Path(folder) / "single.mkv"
        joint = Path(folder) / "joint.mkv"
        one = seconds_of(f"{words} -o {single}", 1)
        many = seconds_of(f"{words} -o {joint} --workers {workers}", workers)
        is_same = single.read_bytes() == joint.read_bytes()
    print(f"one core            {one:8.1f} s")
    print(f"{workers} workers and cores {many:8.1f} s")
    print(f"share               {many / one:8.2f}")
    print(f"same bytes          {is_same!s:>8}")


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


def seconds_of(words: str, num_cores: int) -> float:
    """Runs the command on the first cores."""
    # In the child alone: this process may go on where it likes.
    code = (
        f"import os, runpy; os.sched_setaffinity(0, range({num_cores})); "
        "runpy.run_module('infer', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, *words.split()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    _, seconds = timed(partial(subprocess.run, command, env=environment, check=True))
    return seconds


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
