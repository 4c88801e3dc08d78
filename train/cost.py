"""The cost of a stage on these devices: arithmetic, memory per device, step time
(compiler, clock).

    python -m train.cost --config=official_stage1 --init "" --compile
    JAX_NUM_CPU_DEVICES=8 python -m train.cost --config=official_stage1 --init "" \
        --fsdp 8 --compile

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
from jax.sharding import Mesh, NamedSharding

from configs import RunConfig
from sdvsr_jax.config import PRESETS
from sdvsr_jax.flops import count
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.ops.xla import compiler_options
from train.data.batch import SCALE
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
    # LPIPS has weights of its own, which would have to be loaded
    loss = dataclasses.replace(run.loss, perceptual=0.0)
    run = dataclasses.replace(run, loss=loss)
    config = training_config(PRESETS[run.model](), run)
    trained, frozen = select(abstract_params(config), run.trained)
    state = jax.eval_shape(functools.partial(init_train_state, run), trained)
    mesh = make_mesh(run.fsdp)
    weights = (state, frozen)
    shardings = parameter_shardings(weights, mesh)
    state, frozen = jax.tree.map(_with_sharding, weights, shardings)
    context = Context(run, config, None)
    function = functools.partial(train_step, context=context, with_gan=False)
    hr, lr = _abstract_batch(run, mesh)
    return function, (state, frozen, hr, lr)


def _with_sharding(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _abstract_batch(run: RunConfig, mesh: Mesh) -> list[jax.ShapeDtypeStruct]:
    """HR and LR windows."""
    sharding = NamedSharding(mesh, BATCH)
    crop = run.data.crop
    windows = []
    for side in (SCALE * crop, crop):
        shape = (run.data.batch_size, run.window, side, side, 3)
        window = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=sharding)
        windows.append(window)
    return windows


def measure(
    run: RunConfig, compile_step: bool, run_step: bool, repeats: int = 5
) -> dict[str, float]:
    """TFLOP of a step over all devices; GB per device of weights and optimiser, and of
    activations; seconds per step.
    """
    function, arguments = abstract_step(run)
    state, frozen, *_ = arguments
    leaves = jax.tree.leaves((state, frozen))
    num_bytes = sum(map(_bytes_per_device, leaves))
    flop = count(function, *arguments)
    numbers = {
        "devices": jax.device_count(),
        "TFLOP": flop / 1e12,
        "state GB": num_bytes / 1e9,
    }
    if not (compile_step or run_step):
        return numbers
    # as the loop compiles it
    shardings = jax.tree.map(lambda x: x.sharding, state)
    step = jax.jit(
        function,
        donate_argnums=0,
        out_shardings=(shardings, None),
        compiler_options=compiler_options(),
    )
    lowered = step.lower(*arguments)
    compiled = lowered.compile()
    plan: Any = compiled.memory_analysis()
    numbers["temporary GB"] = plan.temp_size_in_bytes / 1e9
    if run_step:
        numbers["s/step"] = seconds(compiled, arguments, repeats)
    return numbers


def _bytes_per_device(leaf: jax.ShapeDtypeStruct) -> int:
    sharding: Any = leaf.sharding
    shape = sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize


def _zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    return jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)


def seconds(compiled: Any, arguments: tuple, repeats: int) -> float:
    """Shortest of `repeats` steps on zeros."""
    state, *rest = jax.tree.map(_zeros, arguments)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        # the old state is given away (donated), so the new one goes in next
        results = compiled(state, *rest)
        state, _ = jax.block_until_ready(results)
        end = time.perf_counter()
        times.append(end - start)
    # another process can only add to it
    return min(times)


def loader_seconds(run: RunConfig, repeats: int = 20) -> float:
    """Mean time of a batch where nothing but the loader runs; its threads are warm."""
    data = dataclasses.replace(run.data, frames=run.window)
    batches = open_batches(data, run.seed)
    try:
        # the first ones wait for the threads to start
        for _ in range(5):
            next(batches)
        start = time.perf_counter()
        for _ in range(repeats):
            next(batches)
        end = time.perf_counter()
        return (end - start) / repeats
    finally:
        batches.close()


def main(arguments: list[str]) -> None:
    """Print one line for each stage that the arguments describe."""
    from train.__main__ import parse

    own_flags = {"--compile", "--run", "--loader"}
    others = [argument for argument in arguments if argument not in own_flags]
    compile_step = "--compile" in arguments
    run_step = "--run" in arguments
    for name, run in parse(others):
        numbers = measure(run, compile_step, run_step)
        if "--loader" in arguments:
            numbers["s/batch loaded"] = loader_seconds(run)
        columns = [f"{key} {value:.4g}" for key, value in numbers.items()]
        line = "  ".join(columns)
        print(name, line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
