"""Cost against frame size, from 160x90 to the largest that fits: no cliff where attention or correlation grows."""

from typing import Any

import jax

from benchmarks.models import configure, parser, random_params
from benchmarks.report import plot, table, write
from benchmarks.timing import alternate, machine, spread
from sdvsr_jax import compiled_step, init_state
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import frame_flops

LADDER = ((160, 90), (240, 135), (320, 180), (480, 270), (640, 360), (960, 540), (1280, 720), (1920, 1080))
SHARE = 0.8
"""Of the free memory; a size that is predicted to need more ends the ladder."""


def free_bytes() -> int:
    """Memory that a program may take."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def measure(config: ModelConfig, num_frames: int, seconds: float) -> list[dict[str, Any]]:
    """One row per size; ends before one that does not fit or would take more than ``seconds`` per frame."""
    params, rows = random_params(config), []
    for width, height in LADDER:
        frame = jax.random.uniform(jax.random.key(1), (1, height, width, 3), minval=-1)
        state = init_state(config, 1, height, width)
        run = compiled_step(config).lower(params, state, frame).compile()
        if run.memory_analysis().temp_size_in_bytes > SHARE * free_bytes():
            break
        carried = [run(params, state, frame)[0]]

        def one(run=run, frame=frame, carried=carried) -> jax.Array:
            carried[0], sr = run(params, carried[0], frame)
            return sr

        time = spread(alternate({"it": one}, num_frames)["it"])["median_ms"]
        pixels = 16e-6 * width * height
        rows.append({
            "LR": f"{width}x{height}", "SR_megapixels": pixels, "median_ms": time,
            "ms_per_megapixel": time / pixels, "tflop": frame_flops(config, width, height) / 1e12,
            "temp_mb": run.memory_analysis().temp_size_in_bytes / 1e6,
        })  # fmt: skip
        if 3 * time > 1e3 * seconds:  # the next size has about twice the pixels
            break
    return rows


def main(arguments: list[str]) -> None:
    """One table and one line of the plot per model and precision."""
    options = parser("sizes", __doc__)
    options.add_argument("--seconds", type=float, default=20.0, help="longest frame worth waiting for")
    chosen = options.parse_args(arguments)
    found, lines = {}, {}
    for name in chosen.models:
        for precision in chosen.precisions:
            title = f"{name} {precision}"
            rows = found[title] = measure(configure(name, precision), chosen.frames, chosen.seconds)
            lines[title] = [(0, 0), *((row["SR_megapixels"], row["median_ms"]) for row in rows)]
            print(f"\n{title}, {machine()}\n\n{table(rows)}", flush=True)
    plot(chosen.plot, "one frame", "SR megapixels", "ms", lines)
    write(chosen.json, {"machine": machine(), "sizes": found})
