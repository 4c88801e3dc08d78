"""A fresh process up to its first frame, with empty and with filled caches; and a frame
in the middle of a file job.

As a program, `python -m benchmarks.startup VIDEO OUT` is that process: it begins a file
job, ends with its first frame, and prints when each part was over.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from benchmarks import machine, report

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"

# Others only ever add time, so the best of some counts.
WARM_RUNS = 3
TIMEOUT = 600


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'startup': a row with an empty cache and one with a full one."""
    if not _has_media("startup"):
        return
    with tempfile.TemporaryDirectory() as folder:
        cold = _start(folder)
        warm = [_start(folder) for _ in range(WARM_RUNS)]
    best = min(warm, key=lambda parts: parts["total"])
    rows = [{"start": "cold", **cold}, {"start": "warm", **best}]
    results["startup"] = rows
    print(report.table(rows), flush=True)


def run_media(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'media': milliseconds of a frame in the middle of a real file job, by
    encoder; one that is not there has a row with the reason.

    They are the difference of a job and one of a third of its frames: start and end,
    which are long beside a few frames, cancel out.
    """
    if not _has_media("media"):
        return
    frames = max(3, options.frames)
    fewer = frames // 3
    rows = []
    for codec in options.codecs:
        row = {"codec": codec}
        try:
            extra_seconds = _job_seconds(frames, codec) - _job_seconds(fewer, codec)
        except RuntimeError as error:
            rows.append(row | {"note": str(error)})
            continue
        seconds = extra_seconds / (frames - fewer)
        rows.append(row | {"frames": frames, "ms": 1e3 * seconds})
    results["media"] = rows
    print(report.table(rows), flush=True)


def _has_media(piece: str) -> bool:
    absent = machine.absent_packages("av", "tyro", "rich", "safetensors")
    if absent:
        names = ", ".join(absent)
        print(f"{piece} not measured: {names} not installed")
    return not absent


def _start(folder: str) -> dict[str, float]:
    """Returns the seconds of each part of a start, its 'total' to the first frame, and
    'cpu', the seconds on all cores.
    """
    # A setting of the caller's must not reach the child: its cache is its own.
    surroundings = os.environ | {"XDG_CACHE_HOME": folder}
    for name in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS"):
        surroundings.pop(name, None)
    words = ["-m", "benchmarks.startup", str(CLIP), f"{folder}/out.mp4"]
    cpu_before = _cpu_seconds()
    # Times of day, which compare between processes.
    start = time.time()
    text = _output_of(words, surroundings)
    marks = json.loads(text.splitlines()[-1])
    moments = [start, *marks.values()]
    spans = [end - begin for begin, end in pairwise(moments)]
    parts = dict(zip(marks, spans))
    cpu = _cpu_seconds() - cpu_before
    return parts | {"total": sum(spans), "cpu": cpu}


def _cpu_seconds() -> float:
    """Of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _output_of(words: list[str], surroundings: dict[str, str] | None = None) -> str:
    """What Python prints by these words."""
    command = [sys.executable, *words]
    process = subprocess.run(
        command, env=surroundings, capture_output=True, text=True, timeout=TIMEOUT
    )
    if process.returncode:
        # Commands end with one line that says why.
        *_, reason = process.stderr.strip().splitlines()
        raise RuntimeError(f"{' '.join(command)}: {reason}")
    return process.stdout


def _job_seconds(frames: int, codec: str) -> float:
    """A whole file job, by its own report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        files = ["--video", str(CLIP), "--output", f"{folder}/out.mp4"]
        job = ["--frames", str(frames), "--codec", codec, "--report", str(path)]
        _output_of(["-m", "infer", *files, *job])
        facts = json.loads(path.read_text("utf-8"))
        return facts["seconds"]


def first_frame(video: str, output: str) -> None:
    """Prints the time of day at which each part of a start was done."""
    # Imports stand where a file job has them: their time belongs to its part.
    from infer.jobs.plan import make_plan
    from infer.options import parse

    marks = {"python and imports": time.time()}
    options = parse(["--video", video, "--output", output])
    plan = make_plan(options, video, output)
    marks["plan"] = time.time()
    from infer.model.engine import Engine, Shape, load_model
    from infer.sources.files import read_frames

    model = load_model(options.model)
    marks["weights"] = time.time()
    info = plan.info
    shape = Shape(info.width, info.height, info.layout.is_deep, plan.size)
    engine = Engine(model, shape)
    state = engine.start(options.seed)
    marks["program"] = time.time()
    frame = next(iter(read_frames(info, 0, 1)))
    _, pixels = engine.step(state, frame.rgb)
    # JAX returns before the device is ready.
    pixels.block_until_ready()
    marks["first frame"] = time.time()
    print(json.dumps(marks))


if __name__ == "__main__":
    first_frame(*sys.argv[1:])
