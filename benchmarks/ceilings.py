"""What the device can do at most, measured: matrix products in each precision, and a copy."""

import functools
import statistics
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import alternate


@functools.cache
def ceilings(precisions: tuple[str, ...] = ("float32", "bfloat16")) -> dict[str, Any]:
    """Measured peaks: 'matmul' {precision: TFLOP/s}, 'copy_gb_s' (bytes read and written)."""
    big = jax.devices()[0].platform == "gpu"
    side, megabytes, rounds = (8192, 2048, 10) if big else (1024, 128, 5)
    peaks = {}
    for precision in precisions:
        # Random values: a GPU clocks higher on zeros.
        a = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(precision))
        times = _time(jax.jit(lambda x: x @ x), a, rounds)
        peaks[precision] = 2 * side**3 / times / 1e12
    x = jax.random.normal(jax.random.key(1), (megabytes * 2**18,))
    seconds = _time(jax.jit(lambda x: x + 1), x, rounds)
    return {"matmul": peaks, "copy_gb_s": 2 * x.nbytes / seconds / 1e9}


def _time(run: Any, x: jax.Array, rounds: int) -> float:
    run(x).block_until_ready()
    return statistics.median(alternate({"it": lambda: run(x)}, rounds)["it"])
