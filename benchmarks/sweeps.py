"""Cost against size (it must be linear) and throughput against the number of streams in
a batch.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import clock
from benchmarks.weights import noise_frame, prepared_params
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.stream import compiled_step, init_state, reset
from sdvsr_jax.types import Params

Points = list[dict[str, Any]]


def sizes(
    config: ModelConfig,
    pairs: list[tuple[int, int]],
    rounds: int,
    params: Params | None = None,
) -> Points:
    """Milliseconds per frame at each LR size, one size after the other.

    Together they would not fit into memory, and on a CPU small frames pay for pages
    that large ones gave back.
    """
    params = prepared_params(config) if params is None else params
    points = []
    for w, h in pairs:
        found = clock.in_turns({"frame": driver(config, params, 1, w, h)}, rounds)[
            "frame"
        ]
        points.append(
            {
                "lr": [w, h],
                "pixels": w * h,
                "median_ms": 1e3 * found.median,
                "us_per_lr_pixel": 1e6 * found.median / (w * h),
                "gflop": frame_flops(config, w, h) / 1e9,
            }
        )
    return points


def exponent(points: Points) -> float:
    """b of ms = a * pixels**b by least squares: 1 is linear."""
    x, y = (np.log([p[name] for p in points]) for name in ("pixels", "median_ms"))
    return float(np.polyfit(x, y, 1)[0])


def streams(
    config: ModelConfig,
    batches: list[int],
    width: int,
    height: int,
    rounds: int,
    params: Params | None = None,
) -> Points:
    """Frames/s of all streams together, by batch size. In every round one stream leaves
    and another joins.

    ``compiled_again`` counts the programs that this made, over all batch sizes: it must
    be 0.
    """
    params = prepared_params(config) if params is None else params
    calls = {str(b): driver(config, params, b, width, height) for b in batches}
    for call in calls.values():
        call()
    programs = compiled_step(config)._cache_size()  # type: ignore[attr-defined]
    times = clock.in_turns(calls, rounds)
    made = compiled_step(config)._cache_size() - programs  # type: ignore[attr-defined]
    return [
        {
            "batch": b,
            "lr": [width, height],
            "median_ms": 1e3 * times[str(b)].median,
            "frames_per_s": b / times[str(b)].median,
            "compiled_again": made,
        }
        for b in batches
    ]


def driver(
    config: ModelConfig, params: Params, batch: int, width: int, height: int
) -> Any:
    """A call that takes one frame of every stream; with several, one of them starts
    anew each time.
    """
    run, frame = compiled_step(config), noise_frame(width, height, batch)
    state, turn = init_state(config, batch, height, width), 0

    def advance() -> None:
        nonlocal state, turn
        if batch > 1:
            state = reset(state, jnp.arange(batch) == turn % batch)
        state, sr = run(params, state, frame)
        jax.block_until_ready(sr)
        turn += 1

    return advance
