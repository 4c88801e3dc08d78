"""Memory of a traced function, before anything is compiled: the values that are alive
at once.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Var

from sdvsr_jax.flops import inner_jaxprs


def peak_bytes(function: Callable, *args: Any) -> int:
    """Returns the bytes of intermediate values and results of ``function(*args)`` at
    the worst moment, arguments not counted.

    The arguments may be abstract. A compiler does better where it fuses and worse where
    it copies.
    """
    program = jax.make_jaxpr(function)(*args)
    return _peak(program.jaxpr)


def _peak(jaxpr: Any) -> int:
    last_use = _last_uses(jaxpr)
    dying = defaultdict(list)
    for equation in jaxpr.eqns:
        for value in equation.outvars:
            last_index = last_use.get(value)
            dying[last_index].append(value)
    alive = 0
    worst = 0
    for index, equation in enumerate(jaxpr.eqns):
        sizes = [_bytes(value) for value in equation.outvars]
        results = sum(sizes)
        bodies = inner_jaxprs(equation.params)
        # a loop's body needs its own values beside those alive around it
        peaks = [_peak(body) for body in bodies]
        peak = max([results, *peaks])
        worst = max(worst, alive + peak)
        alive += results
        # a value that nobody reads dies at once
        unused = [value for value in equation.outvars if value not in last_use]
        for value in [*dying[index], *unused]:
            alive -= _bytes(value)
    return worst


def _last_uses(jaxpr: Any) -> dict[Var, int]:
    """The number of the last equation that reads a value; results outlive all."""
    last_use = {}
    for index, equation in enumerate(jaxpr.eqns):
        for value in equation.invars:
            if isinstance(value, Var):
                last_use[value] = index
    for value in jaxpr.outvars:
        if isinstance(value, Var):
            last_use[value] = len(jaxpr.eqns)
    return last_use


def _bytes(value: Any) -> int:
    size = getattr(value.aval, "size", 0)
    dtype = getattr(value.aval, "dtype", None)
    return size * getattr(dtype, "itemsize", 0)
