"""What a stage costs on these devices: arithmetic, memory per device, step time
(compiler, clock).

    python -m train.cost --config=official_stage1 --init "" --compile
    JAX_NUM_CPU_DEVICES=8 python -m train.cost --config=official_stage1 --init "" --fsdp
    8 --compile

Memory is the compiler's plan for the devices at hand; --run also takes the time of a
step, and --loader that of the data of --data.path alone.
"""

import dataclasses
import functools
import math
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from configs import RunConfig
from sdvsr_jax.config import PRESETS
from sdvsr_jax.flops import count
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.ops.xla import compiler_options
from train.data.source import open_batches
from train.loop import training_config
from train.mesh import BATCH, make_mesh, parameter_shardings
from train.objectives import Context
from train.selection import select
from train.state import init_train_state
from train.step import train_step


def abstract_step(run: RunConfig) -> tuple[Any, tuple]:
    """(the step without perceptual loss, its abstract arguments as they lie on the
    mesh): nothing is allocated.
    """
    run = dataclasses.replace(run, loss=dataclasses.replace(run.loss, perceptual=0.0))
    config = training_config(PRESETS[run.model](), run)
    trained, frozen = select(abstract_params(config), run.trained)
    state = jax.eval_shape(lambda t: init_train_state(run, t), trained)
    side = 4 * run.data.crop
    hr = jax.ShapeDtypeStruct(
        (run.data.batch_size, run.window, side, side, 3), jnp.uint8
    )
    lr = jax.ShapeDtypeStruct(
        (run.data.batch_size, run.window, run.data.crop, run.data.crop, 3), jnp.uint8
    )
    mesh = make_mesh(run.fsdp)
    weights = (state, frozen)
    batch = (hr, lr)
    shardings = (
        parameter_shardings(weights, mesh),
        jax.tree.map(lambda _: NamedSharding(mesh, BATCH), batch),
    )
    placed = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        (weights, batch),
        shardings,
    )
    function = functools.partial(
        train_step, context=Context(run, config, None), with_gan=False
    )
    return function, (*placed[0], *placed[1])


def measure(
    run: RunConfig, compile_step: bool, run_step: bool, repeats: int = 5
) -> dict[str, float]:
    """TFLOP of a step over all devices; GB per device of what is kept and of
    activations; seconds per step.
    """
    function, arguments = abstract_step(run)
    state = jax.tree.leaves(arguments[:2])
    size = sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in state
    )
    numbers = {
        "devices": jax.device_count(),
        "TFLOP": count(function, *arguments) / 1e12,
        "state GB": size / 1e9,
    }
    if not (compile_step or run_step):
        return numbers
    out = jax.tree.map(lambda x: x.sharding, arguments[0]), None
    step = jax.jit(
        function,
        donate_argnums=0,
        out_shardings=out,
        compiler_options=compiler_options(),
    )
    compiled = step.lower(*arguments).compile()
    plan: Any = compiled.memory_analysis()
    numbers["temporary GB"] = plan.temp_size_in_bytes / 1e9
    return (
        numbers | {"s/step": seconds(compiled, arguments, repeats)}
        if run_step
        else numbers
    )


def seconds(compiled: Any, arguments: tuple, repeats: int) -> float:
    """Shortest of `repeats` steps on zeros."""
    state, *rest = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype, device=x.sharding), arguments
    )
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, *rest))
        times.append(time.perf_counter() - started)
    return min(times)


def loader_seconds(run: RunConfig, repeats: int = 20) -> float:
    """Mean time of a batch where nothing but the loader runs; its threads are warm."""
    batches = open_batches(dataclasses.replace(run.data, frames=run.window), run.seed)
    try:
        for _ in range(5):
            next(batches)
        started = time.perf_counter()
        for _ in range(repeats):
            next(batches)
        return (time.perf_counter() - started) / repeats
    finally:
        batches.close()


def main(arguments: list[str]) -> None:
    """Print one line for each stage that the arguments describe."""
    from train.__main__ import parse

    own_flags = {"--compile", "--run", "--loader"}
    for name, run in parse([a for a in arguments if a not in own_flags]):
        numbers = measure(run, "--compile" in arguments, "--run" in arguments)
        if "--loader" in arguments:
            numbers["s/batch loaded"] = loader_seconds(run)
        print(
            name,
            "  ".join(f"{key} {value:.4g}" for key, value in numbers.items()),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
