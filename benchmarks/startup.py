"""How long a fresh process takes to its first frame: with nothing kept, and with what
the first run left.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIP = Path(__file__).parents[1] / "examples" / "nasa_320x180.mp4"
Marks = dict[str, float]
"""Part of the start -> seconds; 'total' is from the start of the process to its first
frame.
"""


def measure(warm_runs: int = 3) -> dict[str, Marks]:
    """'cold': an empty cache. 'warm': the best of several runs with the cache that the
    cold one filled.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A setting of the caller's must not reach the child: its cache is its own.
        plain = {
            k: v
            for k, v in os.environ.items()
            if k not in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")
        }
        surroundings = plain | {"XDG_CACHE_HOME": folder}
        runs = [_run(surroundings, folder) for _ in range(warm_runs + 1)]
    return {"cold": runs[0], "warm": min(runs[1:], key=lambda marks: marks["total"])}


def _run(surroundings: dict[str, str], folder: str) -> Marks:
    command = [
        sys.executable,
        "-m",
        "benchmarks.first_frame",
        str(CLIP),
        os.path.join(folder, "out.mp4"),
    ]
    start = time.time()
    done = subprocess.run(
        command, capture_output=True, text=True, env=surroundings, timeout=600
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1]}"
        )
    times = json.loads(done.stdout.splitlines()[-1])
    steps = dict(
        zip(times, [b - a for a, b in zip([start, *times.values()], times.values())])
    )
    return steps | {"total": times["first frame"] - start}


def table(marks: dict[str, Marks]) -> str:
    """Markdown, seconds."""
    names = list(marks["cold"])
    lines = [
        "| start of a process, s | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    lines += [
        f"| {run} | " + " | ".join(f"{found[n]:.2f}" for n in names) + " |"
        for run, found in marks.items()
    ]
    return "\n".join(lines)
