"""One model at one size: compile time, first frame, steady frames, memory and
arithmetic.
"""

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import device, profile
from benchmarks.clock import Times, seconds
from benchmarks.precisions import precision_of
from benchmarks.weights import noise_frame, num_bytes, prepared_params
from infer.model import compiled_cache
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Params

Row = dict[str, Any]
"""One line of the table; what was not measured is missing or None."""


def measure(
    config: ModelConfig,
    width: int,
    height: int,
    frames: int,
    peaks: device.Ceilings,
    *,
    batch: int = 1,
    compiles: bool = True,
    params: Params | None = None,
    profiled: int = 0,
    graphs: bool = False,
) -> Row:
    """Seconds unless named otherwise, memory in bytes. ``compiles``: also from a warm
    cache and exported.

    ``profiled`` frames more are run under the profiler, for ``operations``. ``graphs``:
    as `compiled_step` has it, after a measurement without.
    """
    params = prepared_params(config) if params is None else params
    state, frame = (
        init_state(config, batch, height, width),
        noise_frame(width, height, batch),
    )
    shapes = jax.eval_shape(lambda *a: a, params, state, frame)
    options = compiler_options(graphs=graphs)
    run, compile_times = compiled(
        functools.partial(step, config=config), shapes, compiles, options
    )
    advance = advancing(run, params, state, frame)
    before = device.joules()
    times, finite = _frames(advance, frames)
    used = device.joules()
    flop = batch * frame_flops(config, width, height)
    analysis: Any = run.memory_analysis()
    held = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
    )
    return {
        "what": "sdvsr_jax graphs" if graphs else "sdvsr_jax",
        "model": config.name,
        "lr": [width, height],
        "batch": batch,
        "precision": precision_of(config),
        "steps": config.diffusion.num_steps,
        **compile_times,
        "first_frame_s": times.first,
        "median_ms": 1e3 * times.median,
        "p95_ms": 1e3 * times.p95,
        "frames_per_s": batch / times.median,
        "finite": finite,
        "gflop": flop / 1e9,
        "xla_gflop": xla_flops(config, width, height, batch) / 1e9
        if jax.default_backend() == "cpu"
        else None,
        "share_of_peak": flop / times.median / peaks[config.compute_dtype],
        "params_bytes": num_bytes(params),
        "temp_bytes": analysis.temp_size_in_bytes,
        "step_bytes": held + analysis.temp_size_in_bytes,
        "peak_device_bytes": device.peak_device_bytes(),
        "peak_host_bytes": device.peak_host_bytes(),
        "joules_per_frame": None
        if used is None or before is None
        else (used - before) / (batch * (frames + 1)),
        "operations": profile.operations(run, advance, profiled) if profiled else [],
    }


def advancing(
    run: Callable, params: Params, state: Any, frame: jax.Array
) -> Callable[[], jax.Array]:
    """A call that takes the stream one frame further and waits for it; ``state`` is
    consumed.
    """

    def advance() -> jax.Array:
        nonlocal state
        state, sr = run(params, state, frame)
        return sr.block_until_ready()

    return advance


def _frames(advance: Callable[[], jax.Array], count: int) -> tuple[Times, bool]:
    times, sr = [], jnp.zeros(())
    for _ in range(count + 1):
        start = time.perf_counter()
        sr = advance()
        times.append(time.perf_counter() - start)
    return Times(times[0], tuple(times[1:])), bool(np.isfinite(np.asarray(sr)).all())


def compiled(
    function: Callable, shapes: tuple, compiles: bool, options: dict[str, str] | None
) -> tuple[Any, dict[str, float]]:
    """The program, its second argument donated, and the seconds to get it: cold, warm
    cache, exported.
    """
    times, jitted = (
        {},
        functools.partial(
            jax.jit, function, donate_argnums=1, compiler_options=options
        ),
    )
    with empty_cache():
        times["compile_s"], run = _compile(lambda: jitted().lower(*shapes))
        if compiles:
            times["compile_warm_s"], _ = _compile(lambda: jitted().lower(*shapes))
            data = compiled_cache.trace(function, shapes)

            def exported() -> Any:
                return compiled_cache.read(data).lower(*shapes, donate=(1,))

            _compile(
                exported
            )  # fills the cache, as the first run of `python -m infer` does
            times["compile_exported_s"], _ = _compile(exported)
    return run, times


def _compile(lower: Callable[[], Any]) -> tuple[float, Any]:
    jax.clear_caches()
    kept = []
    return seconds(lambda: kept.append(lower().compile())), kept[0]


@contextlib.contextmanager
def empty_cache() -> Iterator[None]:
    """A persistent compile cache of one's own, empty at the start."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        try:
            jax.config.update(names[0], folder)
            jax.config.update(names[1], 0.0)
            compilation_cache.reset_cache()
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def xla_flops(config: ModelConfig, width: int, height: int, batch: int = 1) -> float:
    """By XLA's cost analysis of the unoptimised program, element-wise work included; a
    CPU's XLA only has one.

    The sampling loop is unrolled for it, because XLA counts the body of a loop once.
    """
    flat = dataclasses.replace(config, unroll=True)
    params = jax.eval_shape(functools.partial(_prepare, flat))
    state = jax.eval_shape(lambda: init_state(flat, batch, height, width))
    frame = jax.ShapeDtypeStruct((batch, height, width, 3), "float32")
    analysis: Any = (
        jax.jit(functools.partial(step, config=flat))
        .lower(params, state, frame)
        .cost_analysis()
    )
    return (analysis or {}).get("flops", float("nan"))


def _prepare(config: ModelConfig) -> Params:
    from sdvsr_jax.networks import init_params, prepare

    return prepare(init_params(jax.random.key(0), config), config)
