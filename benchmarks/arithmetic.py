"""A frame's convolutions and products, each alone: how near the device comes to its
peak, and what a bias or a sum on the way out does to that.
"""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import clock
from sdvsr_jax import flops
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.ops.xla import compiler_options

FORMS: dict[str, Callable] = {
    "alone": lambda y, bias, other: y,
    "+ bias": lambda y, bias, other: y + bias,
    "+ bias + sum": lambda y, bias, other: y + bias + other,
}
LEAST_WORK = 3e10
"""Operations between two looks at the clock on a GPU: launching a kernel takes longer
than a small one runs.
"""


class Operation(NamedTuple):
    """One kind of convolution or product: the traced equation, how often a frame does
    it, operations of each.
    """

    name: str
    equation: Any
    calls: int
    flop: int


def operations(config: ModelConfig, width: int, height: int) -> list[Operation]:
    """All of a frame at LR size width x height, those with the most arithmetic first."""
    calls: collections.Counter[str] = collections.Counter()
    seen = {}
    for equation, turns in flops.equations(flops.traced_frame(config, width, height)):
        if flops.cost(equation):
            calls[_name(equation)] += turns
            seen[_name(equation)] = equation
    found = [
        Operation(name, equation, calls[name], flops.cost(equation))
        for name, equation in seen.items()
    ]
    return sorted(found, key=lambda o: -o.calls * o.flop)


def _name(equation: Any) -> str:
    x, kernel, y = (v.aval for v in (*equation.invars[:2], *equation.outvars))
    sizes = f"{_shape(x)} * {_shape(kernel)} -> {_shape(y)} {x.dtype}"
    if equation.primitive.name != "conv_general_dilated":
        return f"product {sizes}"
    strides = equation.params["window_strides"]
    return f"conv {sizes}" + (
        f" / {'x'.join(map(str, strides))}" if set(strides) != {1} else ""
    )


def _shape(array: Any) -> str:
    return "x".join(map(str, array.shape))


def measure(
    config: ModelConfig,
    width: int,
    height: int,
    rounds: int,
    peaks: dict[str, float],
    most: int = 12,
) -> list[dict[str, Any]]:
    """A row for each of the ``most`` costly: TFLOP/s in every form (taking turns),
    share of the peak, ms per frame.

    The share and the milliseconds are of the form ``alone``.
    """
    rows = []
    for operation in operations(config, width, height)[:most]:
        repeats = (
            max(1, round(LEAST_WORK / operation.flop))
            if jax.default_backend() != "cpu"
            else 1
        )
        calls = {
            name: _call(operation.equation, form, repeats)
            for name, form in FORMS.items()
        }
        times = {
            name: t.median / repeats
            for name, t in clock.in_turns(calls, rounds).items()
        }
        peak = peaks.get(str(operation.equation.invars[0].aval.dtype))
        rows.append(
            {
                "operation": operation.name,
                "calls": operation.calls,
                "gflop": operation.calls * operation.flop / 1e9,
                "ms": 1e3 * operation.calls * times["alone"],
                "of peak": peak and operation.flop / times["alone"] / peak,
            }
            | {name: operation.flop / seconds / 1e12 for name, seconds in times.items()}
        )
    return rows


def _call(equation: Any, form: Callable, repeats: int) -> Callable[[], object]:
    """So many calls in a row, waited for at the end."""
    x, kernel = (_random(k, v.aval) for k, v in enumerate(equation.invars[:2]))
    other = _random(2, equation.outvars[0].aval)

    def run(
        x: jax.Array, kernel: jax.Array, bias: jax.Array, other: jax.Array
    ) -> jax.Array:
        return form(equation.primitive.bind(x, kernel, **equation.params), bias, other)

    program = jax.jit(run, compiler_options=compiler_options())
    bias = other[(0,) * (other.ndim - 1)]

    def call() -> None:
        jax.block_until_ready([program(x, kernel, bias, other) for _ in range(repeats)])

    return call


def _random(seed: int, shaped: Any) -> jax.Array:
    values = jax.random.normal(jax.random.key(seed), shaped.shape)
    # 8-bit values in their own range, which a normal distribution hardly leaves zero
    return (16 * values if shaped.dtype.itemsize == 1 else values).astype(
        jnp.dtype(shaped.dtype)
    )
