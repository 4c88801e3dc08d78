"""What a stage costs: floating-point operations, memory and step time, from the compiler (and the clock).

python -m train.cost --config=official_stage1 --data.batch-size 2 --init "" --compile
"""

import dataclasses
import functools
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import RunConfig
from sdvsr_jax.config import PRESETS
from sdvsr_jax.networks import abstract_params
from train.loop import training_config
from train.objectives import Context
from train.selection import select
from train.state import init_train_state
from train.step import train_step


def abstract_step(run: RunConfig) -> tuple[Any, tuple]:
    """(the jitted step without perceptual loss, its abstract arguments): nothing is allocated."""
    run = dataclasses.replace(run, loss=dataclasses.replace(run.loss, perceptual=0.0))
    config = training_config(PRESETS[run.model](), run)
    params = abstract_params(config)
    trained, frozen = select(params, run.trained)
    state = jax.eval_shape(lambda t: init_train_state(run, t), trained)
    side = 4 * run.data.crop
    hr = jax.ShapeDtypeStruct((run.data.batch_size, run.window, side, side, 3), jnp.uint8)
    lr = jax.ShapeDtypeStruct((run.data.batch_size, run.window, run.data.crop, run.data.crop, 3), jnp.uint8)
    function = functools.partial(train_step, context=Context(run, config, None), with_gan=False)
    return jax.jit(function, donate_argnums=0), (state, frozen, hr, lr)


def measure(run: RunConfig, compile_step: bool, repeats: int = 5) -> dict[str, float]:
    """TFLOP of a step, GB of state and parameters; compiled also GB of activations and seconds per step."""
    step, arguments = abstract_step(run)
    lowered = step.lower(*arguments)
    size = sum(np.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(arguments))
    found = {"TFLOP": (lowered.cost_analysis() or {}).get("flops", float("nan")) / 1e12, "state GB": size / 1e9}
    if not compile_step:
        return found
    compiled = lowered.compile()
    found["temporary GB"] = compiled.memory_analysis().temp_size_in_bytes / 1e9
    state, *rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), arguments)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, *rest))
        times.append(time.perf_counter() - started)
    return found | {"s/step": min(times)}


def main(arguments: list[str]) -> None:
    """Print one line for the run that the arguments describe."""
    from train.__main__ import parse

    for name, run in parse([a for a in arguments if a != "--compile"]):
        found = measure(run, "--compile" in arguments)
        print(name, "  ".join(f"{key} {value:.3f}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
