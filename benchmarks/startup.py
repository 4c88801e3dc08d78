"""A fresh process up to its first frame, with empty and with filled caches.

As a program, `python -m benchmarks.startup VIDEO OUT` is that process: it begins a file
job, ends with its first frame, and prints when each part was over.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import machine, report

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"

Parts = dict[str, float]
"""Part of the start -> seconds; 'total' is from the start of the process to its first
frame.
"""


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'startup'."""
    if _has_media("startup"):
        results["startup"] = measure()
        rows = [{"start": name, **parts} for name, parts in results["startup"].items()]
        print(report.plain_table(rows), flush=True)


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
    print(report.plain_table(rows), flush=True)


def _has_media(piece: str) -> bool:
    lacking = machine.absent_packages("av", "tyro", "rich", "safetensors")
    if lacking:
        print(f"{piece} not measured: {', '.join(lacking)} not installed")
    return not lacking


def measure(warm_runs: int = 3) -> dict[str, Parts]:
    """Returns 'cold' (an empty cache) and 'warm' (the best of several, filled)."""
    settings = ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")
    with tempfile.TemporaryDirectory() as folder:
        # A setting of the caller's must not reach the child: its cache is its own.
        environment = dict(os.environ)
        for name in settings:
            environment.pop(name, None)
        environment["XDG_CACHE_HOME"] = folder
        cold = _start(environment, folder)
        warm = [_start(environment, folder) for _ in range(warm_runs)]
    # The best: other processes only ever add time.
    return {"cold": cold, "warm": min(warm, key=lambda parts: parts["total"])}


def _start(environment: dict[str, str], folder: str) -> Parts:
    """Returns the parts of one start; times of day compare between processes."""
    output = os.path.join(folder, "out.mp4")
    command = [sys.executable, "-m", "benchmarks.startup", str(CLIP), output]
    began = time.time()
    process = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=600
    )
    if process.returncode:
        # The command ends with one line that says why.
        reason = process.stderr.strip().splitlines()[-1]
        raise RuntimeError(f"{' '.join(command)}: {reason}")
    marks = json.loads(process.stdout.splitlines()[-1])
    moments = [began, *marks.values()]
    spans = [end - start for start, end in pairwise(moments)]
    parts: Parts = dict(zip(marks, spans))
    parts["total"] = sum(spans)
    return parts


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
    report = os.path.join(folder, "report.json")
    words = f"--video {CLIP} --output {folder}/out.mp4 --overwrite --frames {frames}"
    command = [sys.executable, "-m", "infer", *words.split()]
    command += ["--codec", codec, "--report", report]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if process.returncode:
        raise RuntimeError(process.stderr.strip().splitlines()[-1])
    text = Path(report).read_text("utf-8")
    return json.loads(text)["seconds"]


if __name__ == "__main__":
    first_frame(*sys.argv[1:])
