"""A fresh process up to its first frame, as `python -m infer` does it: python -m
benchmarks.first_frame VIDEO OUT.

Prints when the frame was on the host. The parent (benchmarks.startup) has the time at
which it began.
"""

import json
import sys
import time

from infer.command.options import parse
from infer.jobs.plan import make_plan


def main(video: str, output: str) -> None:
    """Everything that comes before the first frame of a file job."""
    marks = {"python and options": time.time()}
    options = parse(["--video", video, "--output", output])
    plan = make_plan(options, video, output)
    marks["plan"] = time.time()
    from infer.model.engine import Engine, Shape, load_model
    from infer.sources.files import read_frames

    marks["import"] = time.time()
    model = load_model(options.model)
    marks["weights"] = time.time()
    info = plan.info
    shape = Shape(info.width, info.height, info.layout.is_deep, plan.size)
    engine = Engine(model, shape)
    state = engine.start(options.seed)
    marks["program"] = time.time()
    frame = next(iter(read_frames(info, 0, 1)))
    _, pixels = engine.step(state, frame.rgb)
    pixels.block_until_ready()
    marks["first frame"] = time.time()
    print(json.dumps(marks))


if __name__ == "__main__":
    main(*sys.argv[1:])
