"""What XLA's options do to a frame: each set of them beside the program as it is, in
one process and in turns.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from benchmarks import clock
from benchmarks.latency import Row, advancing
from benchmarks.precisions import precision_of
from benchmarks.weights import noise_frame, prepared_params
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.xla import CPU_OPTIONS, GRAPH_OPTIONS, compiler_options
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Params

Options = Mapping[str, str | bool]

GPU_ALONE: dict[str, Options] = {
    "graphs": GRAPH_OPTIONS,
    "dependent launch": {"xla_gpu_enable_pdl": True, "xla_gpu_enable_pdl_launch": True},
    "cuDNN fusions": {"xla_gpu_experimental_enable_conv_fusion": True},
    "cuDNN products": {"xla_gpu_cudnn_gemm_fusion_level": "3"},
    "cuBLASLt": {"xla_gpu_enable_cublaslt": True},
    "second product fusion": {"xla_gpu_experimental_gemm_fusion_v2": True},
}
"""A kernel begins while the one before it ends (Hopper); a convolution and what follows
as one graph of cuDNN; its kernels, cuBLASLt's with bias and sum, and another way to
fuse, among those that products are chosen from.
"""


def known_sets() -> dict[str, Options]:
    """What is worth a try on this device: on a GPU each set alone and with CUDA graphs,
    the likeliest first.

    On a CPU our own options, left out: what they bring.
    """
    if device_kind()[0] != "cuda":
        lacking: dict[str, Options] = {
            f"without {name}": {k: v for k, v in CPU_OPTIONS.items() if k != name}
            for name in CPU_OPTIONS
        }
        return {"XLA's defaults": {}} | lacking
    with_graphs = {
        f"graphs, {name}": GRAPH_OPTIONS | dict(options)
        for name, options in GPU_ALONE.items()
    }
    del with_graphs["graphs, graphs"]
    return GPU_ALONE | with_graphs


def measure(
    config: ModelConfig,
    width: int,
    height: int,
    rounds: int,
    sets: Mapping[str, Options],
    *,
    params: Params | None = None,
    keep: Callable[[list[Row]], None] = lambda _: None,
) -> list[Row]:
    """A row per set: milliseconds, share of the plain program's, relative difference of
    the first frames.

    Each takes turns with the plain program alone and is then forgotten, so that memory
    does not grow; ``keep`` gets the rows so far. A set that the compiler or the device
    refuses has a row that says so.
    """
    params = prepared_params(config) if params is None else params
    rows: list[Row] = []
    plain, _, expected = _ready(config, params, width, height, compiler_options())
    for name, options in sets.items():
        row: Row = {
            "options": name,
            "precision": precision_of(config),
            "lr": [width, height],
        }
        try:
            call, figures, found = _ready(config, params, width, height, options)
            times = clock.in_turns({"plain": plain, name: call}, rounds)
            row |= figures | {
                "median ms": 1e3 * times[name].median,
                "p95 ms": 1e3 * times[name].p95,
                "plain ms": 1e3 * times["plain"].median,
                "of plain": times[name].median / times["plain"].median,
                "error": float(
                    np.linalg.norm(found - expected) / np.linalg.norm(expected)
                ),
            }
        except jax.errors.JaxRuntimeError as error:
            row["refused"] = " ".join(str(error).split())[:200]
        rows.append(row)
        keep(rows)
    return rows


def _ready(
    config: ModelConfig,
    params: Params,
    width: int,
    height: int,
    options: Options | None,
) -> tuple[Callable[[], jax.Array], Row, np.ndarray]:
    """A call that takes one frame more, what it took to get there, and the first frame."""
    state, frame = init_state(config, 1, height, width), noise_frame(width, height)
    jitted = jax.jit(
        functools.partial(step, config=config),
        donate_argnums=1,
        compiler_options=dict(options or {}) or None,
    )
    compiled, made = [], []
    seconds = clock.seconds(
        lambda: compiled.append(jitted.lower(params, state, frame).compile())
    )
    call = advancing(compiled[0], params, state, frame)
    first = clock.seconds(lambda: made.append(call()))
    temporary = compiled[0].memory_analysis().temp_size_in_bytes
    figures = {
        "compile s": seconds,
        "first ms": 1e3 * first,
        "temporary MB": temporary / 1e6,
    }
    return call, figures, np.asarray(made[0])
