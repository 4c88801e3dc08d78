"""Arithmetic of a traced function: convolutions and matrix products, a multiply-add
counted as two operations.

XLA's own cost analysis counts the body of a loop once; this count multiplies it by the
loop's length. Only a loop of unknown length (a training run's burn-in) counts once here
too.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import init_state, step


def frame_flops(config: ModelConfig, width: int, height: int) -> int:
    """Returns the operations of one frame at LR size width x height. Nothing is
    computed.
    """
    return _count(traced_frame(config, width, height))


def traced_frame(config: ModelConfig, width: int, height: int) -> Any:
    """Returns the jaxpr of one `step`."""
    params = abstract_params(config)
    make_prepared = functools.partial(prepare, config=config)
    prepared = jax.eval_shape(make_prepared, params)
    make_state = functools.partial(init_state, config, 1, height, width)
    state = jax.eval_shape(make_state)
    frame_shape = (1, height, width, 3)
    frame = jax.ShapeDtypeStruct(frame_shape, "float32")
    run = functools.partial(step, config=config)
    program = jax.make_jaxpr(run)(prepared, state, frame)
    return program.jaxpr


def count(function: Callable, *args: Any) -> int:
    """Returns the operations of ``function(*args)``; the arguments may be abstract."""
    program = jax.make_jaxpr(function)(*args)
    return _count(program.jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation, turns in equations(jaxpr):
        total += turns * cost(equation)
    return total


def equations(jaxpr: Any, turns: int = 1) -> Iterator[tuple[Any, int]]:
    """Yields every equation that holds no program of its own, and how often it is
    evaluated.
    """
    for equation in jaxpr.eqns:
        bodies = list(inner_jaxprs(equation.params))
        is_loop = equation.primitive.name == "scan"
        length = equation.params["length"] if is_loop else 1
        for body in bodies:
            yield from equations(body, turns * length)
        if not bodies:
            yield equation, turns


def cost(equation: Any) -> int:
    """Returns the operations of one equation, of convolutions and products only."""
    name = equation.primitive.name
    if name == "conv_general_dilated":
        return _convolution_cost(equation)
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left, _ = equation.invars
        (result,) = equation.outvars
        sizes = [left.aval.shape[axis] for axis in contracted]
        terms = math.prod(sizes)
        return 2 * result.aval.size * terms
    return 0


def _convolution_cost(equation: Any) -> int:
    params = equation.params
    _, kernel = equation.invars
    (result,) = equation.outvars
    sizes = kernel.aval.shape
    out_axis, *_ = params["dimension_numbers"].rhs_spec
    # zeros between the inputs (gradients of strided convolutions) are not arithmetic
    inserted = math.prod(params["lhs_dilation"])
    # of the kernel's values each output reads those of its own channel
    divisor = sizes[out_axis] * inserted
    products = result.aval.size * math.prod(sizes)
    return 2 * products // divisor


def inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """Yields the programs inside an equation (loop bodies, branches, calls), from its
    ``params``.
    """
    for value in params.values():
        items = value if isinstance(value, tuple | list) else (value,)
        for item in items:
            # closed ones carry the program in an attribute
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner
