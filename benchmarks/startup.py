"""From the start of a fresh process of the real command to its first finished frame.

cold: nothing kept. warm: compiled programs and their traces kept by the run before. Needs PyAV.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.media import make_clip
from benchmarks.models import size_of
from benchmarks.report import table, write

CHILD = """
import sys, time
from infer.console import Clock
tick = Clock.tick
def told(self):
    tick(self)
    if self.frames == 1:
        print(time.time(), flush=True)
Clock.tick = told
from infer.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""The command as it is, but it tells when its first frame is finished."""


def first_frame(clip: Path, cache: Path) -> float:
    """Seconds to the first frame of one run."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    words = ["--video", str(clip), "--output", str(clip.with_name("out.mp4")), "--frames", "2", "--overwrite"]
    start = time.time()
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"the command failed: {done.stderr}")
    return float(done.stdout) - start


def measure(width: int, height: int, rounds: int) -> dict[str, Any]:
    """Cold once, warm ``rounds`` times."""
    with tempfile.TemporaryDirectory() as folder:
        clip, cache = Path(folder) / "in.mp4", Path(folder) / "cache"
        make_clip(clip, width, height, 3)
        cold = first_frame(clip, cache)
        warm = [first_frame(clip, cache) for _ in range(rounds)]
    load = os.getloadavg()[0]
    return {"LR": f"{width}x{height}", "cold_s": cold, "warm_s": statistics.median(warm), "best_warm_s": min(warm),
            "load_1min": load}  # fmt: skip


def main(arguments: list[str]) -> None:
    """One row per size, with the shipped model."""
    import argparse

    options = argparse.ArgumentParser(prog="python -m benchmarks startup", description=__doc__)
    options.add_argument("--sizes", nargs="+", type=size_of, default=[(320, 180)])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args(arguments)
    rows = [measure(width, height, chosen.rounds) for width, height in chosen.sizes]
    print(table(rows))
    write(chosen.json, {"startup": rows})
