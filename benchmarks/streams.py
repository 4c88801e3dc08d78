"""Many streams in one batch: throughput against their number, while some leave and others take their place.

A stream that leaves frees its row; `reset` of that row is the new stream. Nothing is compiled again, and the rows
of the others do not change by one bit.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import configure, parser, random_params
from benchmarks.report import plot, table, write
from benchmarks.sizes import SHARE, free_bytes
from benchmarks.timing import alternate, machine, spread
from sdvsr_jax import compiled_step, init_state, reset
from sdvsr_jax.config import ModelConfig


def measure(
    config: ModelConfig, width: int, height: int, batches: list[int], num_frames: int
) -> list[dict[str, Any]]:
    """One row per batch size: frames/s of all streams together, and how many at 25 frames/s that is."""
    params, rows = random_params(config), []
    run, swap = compiled_step(config), jax.jit(reset, donate_argnums=0)
    for batch in batches:
        frames = jax.random.uniform(jax.random.key(1), (batch, height, width, 3), minval=-1)
        carried = [init_state(config, batch, height, width)]
        needed = run.lower(params, carried[0], frames).compile().memory_analysis().temp_size_in_bytes
        if needed > SHARE * free_bytes():
            break
        rng = np.random.default_rng(0)
        before = run._cache_size()  # type: ignore[attr-defined]

        def one(batch=batch, frames=frames, carried=carried, rng=rng) -> jax.Array:
            leaving = np.zeros(batch, bool)
            leaving[rng.integers(batch)] = True
            carried[0], sr = run(params, swap(carried[0], jnp.asarray(leaving)), frames)
            return sr

        alternate({"it": one}, 1)
        time = spread(alternate({"it": one}, num_frames)["it"])["median_ms"]
        compiled = run._cache_size() - before  # type: ignore[attr-defined]
        rate = 1e3 * batch / time
        rows.append({"streams": batch, "ms_per_batch": time, "frames_per_s": rate, "streams_at_25_fps": rate / 25,
                     "programs": compiled, "temp_mb": needed / 1e6})  # fmt: skip
    return rows


def main(arguments: list[str]) -> None:
    """One table and one line of the plot per model, size and precision."""
    options = parser("streams", __doc__)
    options.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4])
    chosen = options.parse_args(arguments)
    found, lines = {}, {}
    for name in chosen.models:
        for width, height in chosen.sizes:
            for precision in chosen.precisions:
                title = f"{name} {width}x{height} {precision}"
                config = configure(name, precision)
                rows = found[title] = measure(config, width, height, chosen.batches, chosen.frames)
                lines[title] = [(row["streams"], row["frames_per_s"]) for row in rows]
                print(f"\n{title}, {machine()}\n\n{table(rows)}", flush=True)
    plot(chosen.plot, "throughput", "streams", "frames/s", lines)
    write(chosen.json, {"machine": machine(), "streams": found})
