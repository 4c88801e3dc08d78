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
from typing import Any

from benchmarks import machine, report

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"

# Others only ever add time, so the best of some counts.
WARM_RUNS = 3
TIMEOUT = 600

Parts = dict[str, float]
"""Part of the start -> seconds; 'total' is from the start of the process to its first
frame, 'cpu' the seconds on all cores.
"""


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'startup'."""
    if _has_media("startup"):
        rows = measure()
        results["startup"] = rows
        print(report.table(rows), flush=True)


def run_media(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'media'; an encoder that is not there has a row with the reason."""
    if not _has_media("media"):
        return
    rows = []
    for codec in options.codecs:
        try:
            rows.append(media(max(3, options.frames), codec))
        except RuntimeError as error:
            rows.append({"codec": codec, "note": str(error)})
    results["media"] = rows
    print(report.table(rows), flush=True)


def _has_media(piece: str) -> bool:
    lacking = machine.absent_packages("av", "tyro", "rich", "safetensors")
    if lacking:
        print(f"{piece} not measured: {', '.join(lacking)} not installed")
    return not lacking


def measure() -> list[dict[str, Any]]:
    """Returns a row for 'cold' (an empty cache) and one for 'warm' (a full one)."""
    with tempfile.TemporaryDirectory() as folder:
        cold = _start(folder)
        warm = [_start(folder) for _ in range(WARM_RUNS)]
    best = min(warm, key=lambda parts: parts["total"])
    return [{"start": "cold", **cold}, {"start": "warm", **best}]


def _start(folder: str) -> Parts:
    """Returns the parts of one start; times of day compare between processes."""
    output = os.path.join(folder, "out.mp4")
    # A setting of the caller's must not reach the child: its cache is its own.
    surroundings = os.environ | {"XDG_CACHE_HOME": folder}
    for name in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS"):
        surroundings.pop(name, None)
    command = [sys.executable, "-m", "benchmarks.startup", str(CLIP), output]
    before = _cpu_seconds()
    began = time.time()
    printed = _output_of(command, surroundings)
    marks = json.loads(printed.splitlines()[-1])
    moments = [began, *marks.values()]
    spans = [end - start for start, end in pairwise(moments)]
    parts: Parts = dict(zip(marks, spans))
    return parts | {"total": sum(spans), "cpu": _cpu_seconds() - before}


def _cpu_seconds() -> float:
    """Of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _output_of(command: list[str], surroundings: dict[str, str] | None = None) -> str:
    process = subprocess.run(
        command, env=surroundings, capture_output=True, text=True, timeout=TIMEOUT
    )
    if process.returncode:
        # Commands end with one line that says why.
        reason = process.stderr.strip().splitlines()[-1]
        raise RuntimeError(f"{' '.join(command)}: {reason}")
    return process.stdout


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


def media(frames: int, codec: str) -> dict[str, Any]:
    """Returns milliseconds of a frame in the middle of a real file job.

    It is the difference of a job and one of a third of its frames: start and end, which
    are long beside a few frames, cancel out.
    """
    short = max(1, frames // 3)
    with tempfile.TemporaryDirectory() as folder:
        first = _job_seconds(folder, short, codec)
        second = _job_seconds(folder, frames, codec)
    seconds = (second - first) / (frames - short)
    return {"codec": codec, "frames": frames, "ms": 1e3 * seconds}


def _job_seconds(folder: str, frames: int, codec: str) -> float:
    path = Path(folder) / "report.json"
    words = f"--video {CLIP} --output {folder}/out.mp4 --overwrite --frames {frames}"
    command = [sys.executable, "-m", "infer", *words.split()]
    _output_of([*command, "--codec", codec, "--report", str(path)])
    return json.loads(path.read_text("utf-8"))["seconds"]


if __name__ == "__main__":
    first_frame(*sys.argv[1:])
