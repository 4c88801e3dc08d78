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
from sdvsr_jax.networks import abstract_params, prepare
from sdvsr_jax.stream import init_state, step


def frame_flops(config: ModelConfig, width: int, height: int) -> int:
    """Operations of one frame at LR size width x height. Nothing is computed."""
    return _count(traced_frame(config, width, height))


def traced_frame(config: ModelConfig, width: int, height: int) -> Any:
    """The jaxpr of one `step`."""
    params = jax.eval_shape(
        functools.partial(prepare, config=config), abstract_params(config)
    )
    state = jax.eval_shape(lambda: init_state(config, 1, height, width))
    frame = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
    return jax.make_jaxpr(functools.partial(step, config=config))(
        params, state, frame
    ).jaxpr


def count(function: Callable, *args: Any) -> int:
    """Operations of ``function(*args)``; the arguments may be abstract."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
    return sum(turns * cost(equation) for equation, turns in equations(jaxpr))


def equations(jaxpr: Any, turns: int = 1) -> Iterator[tuple[Any, int]]:
    """Every equation that holds no program of its own, and how often it is evaluated."""
    for equation in jaxpr.eqns:
        inner = list(inner_jaxprs(equation.params))
        length = equation.params["length"] if equation.primitive.name == "scan" else 1
        for body in inner:
            yield from equations(body, turns * length)
        if not inner:
            yield equation, turns


def cost(equation: Any) -> int:
    """Operations of one equation: 0 for all but convolutions and products."""
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out_channels = kernel[params["dimension_numbers"].rhs_spec[0]]
        # zeros between the inputs (gradients of strided convolutions) are not
        # arithmetic
        inserted = out_channels * math.prod(params["lhs_dilation"])
        return 2 * equation.outvars[0].aval.size * math.prod(kernel) // inserted
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        shape = equation.invars[0].aval.shape
        return (
            2
            * equation.outvars[0].aval.size
            * math.prod(shape[axis] for axis in contracted)
        )
    return 0


def inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation (loop bodies, branches, calls), from its
    ``params``.
    """
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner
