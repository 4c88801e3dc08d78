"""Everything at full size within 8 minutes: for a lent GPU. Weights are random, made on the device.

Each stage is a process of its own (its memory is gone when it ends, and a failure costs only itself); what time is
left goes to the next one, and a stage that no longer fits is named in the summary. Needs jax, flax, optax, numpy,
einops, jaxtyping and safetensors; PyTorch with torchvision and diffusers is compared where it is there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FULL, NANO = ["--models", "stream_diffvsr"], ["--models", "nano"]
BF16 = ["--precisions", "bfloat16"]
STAGES: dict[str, list[str]] = {
    "full": ["table", *FULL, *BF16, "--frames", "20"],
    "nano": ["table", *NANO, *BF16, "--frames", "60"],
    "full_parts": ["parts", *FULL, *BF16, "--frames", "10"],
    "torch_full": ["compare", *FULL, "--frames", "5"],
    "full_streams": ["streams", *FULL, *BF16, "--batches", "1", "2", "4", "--frames", "4"],
    "nano_streams": ["streams", *NANO, *BF16, "--batches", "1", "4", "16", "64", "--frames", "5"],
    "nano_sizes": ["sizes", *NANO, *BF16, "--frames", "5"],
    "torch_nano": ["compare", *NANO, "--frames", "20"],
    "full_float32": ["table", *FULL, "--frames", "5"],
    "full_sizes": ["sizes", *FULL, *BF16, "--frames", "3", "--seconds", "1"],
}
"""In order of importance."""
LEAST_SECONDS = 15.0
"""A stage that cannot get this long is not begun."""


def main(arguments: list[str]) -> None:
    """Run the stages and write one JSON with all their numbers."""
    options = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    options.add_argument("--seconds", type=float, default=470.0, help="for everything")
    options.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    options.add_argument("--sizes", default="320x180", help="LR size of all stages but the size sweeps")
    options.add_argument("--json", type=Path, default=Path("gpu.json"))
    chosen = options.parse_args(arguments)
    started, results = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.stages:
            left = chosen.seconds - (time.monotonic() - started)
            command = STAGES[name] if "sizes" in name else [*STAGES[name], "--sizes", chosen.sizes]
            results[name] = _run(name, command, left, Path(folder))
            chosen.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print("\nsummary")
    for name, result in results.items():
        print(f"{name}: {result.get('error', 'done')} ({result['stage_seconds']:.0f} s)")


def _run(name: str, command: list[str], left: float, folder: Path) -> dict:
    start = time.monotonic()
    if left < LEAST_SECONDS:
        return {"error": "no time left", "stage_seconds": 0.0}
    print(f"\n## {name}: python -m benchmarks {' '.join(command)}", flush=True)
    kept = folder / f"{name}.json"
    # PyTorch needs memory beside JAX, and later stages find what earlier ones compiled.
    environment = os.environ | {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    }
    try:
        code = subprocess.run(
            [sys.executable, "-m", "benchmarks", *command, "--json", str(kept)], timeout=left, env=environment
        ).returncode
        problem = f"exit status {code}" if code else None
    except subprocess.TimeoutExpired:
        problem = f"stopped after {left:.0f} s"
    result = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    return result | {"stage_seconds": time.monotonic() - start} | ({"error": problem} if problem else {})
