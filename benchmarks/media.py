"""What reading, colour conversion, encoding and writing add to a frame: a real file job
against the bare step.
"""

import contextlib
import os
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.startup import CLIP


def measure(frames: int, model: str = "nano") -> dict[str, Any]:
    """Milliseconds per frame of the step alone and in file jobs of ``frames`` and 3 x
    ``frames`` frames.

    The difference of the two jobs is the cost of a frame in the middle of one: start
    and end cancel out. The step alone is measured before and after.
    """
    from infer.command.options import parse
    from infer.jobs.plan import make_plan
    from infer.model.engine import Engine, Shape, load_model
    from infer.sources.files import read_frames

    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "out.mp4")
        arguments = [
            "--video",
            str(CLIP),
            "--output",
            output,
            "--model",
            model,
            "--overwrite",
        ]
        options = parse(arguments)
        info = make_plan(options, str(CLIP), output).info
        size = (4 * info.width, 4 * info.height)
        shape = Shape(info.width, info.height, False, size)
        engine = Engine(load_model(model), shape)
        pixels = next(iter(read_frames(info, 0, 1))).rgb
        before = _alone(engine, pixels, frames)
        jobs = [
            _job([*arguments, "--frames", str(n)], output, engine)
            for n in (frames, 3 * frames)
        ]
        after = _alone(engine, pixels, frames)
    alone, inside = (before + after) / 2, (jobs[1] - jobs[0]) / (2 * frames)
    return {
        "lr": [info.width, info.height],
        "frames": frames,
        "alone_ms": 1e3 * alone,
        "with_io_ms": 1e3 * inside,
        "alone_before_ms": 1e3 * before,
        "alone_after_ms": 1e3 * after,
        "io_share": inside / alone - 1,
    }


def _alone(engine: Any, pixels: np.ndarray, frames: int) -> float:
    state, out = engine.step(engine.start(0), pixels)
    np.asarray(out)
    start = time.perf_counter()
    for _ in range(frames):
        state, out = engine.step(state, pixels)
        np.asarray(out)
    return (time.perf_counter() - start) / frames


def _job(arguments: list[str], output: str, engine: Any) -> float:
    from infer.command.options import parse
    from infer.jobs.file_job import run_job
    from infer.jobs.plan import make_plan

    options = parse(arguments)
    plan = make_plan(options, str(CLIP), output)
    with open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):
        return run_job(options, plan, engine).seconds
