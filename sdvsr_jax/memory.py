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
    """Bytes of intermediate values and results of ``function(*args)`` at the worst
    moment, arguments not counted.

    The arguments may be abstract. A compiler does better where it fuses and worse where
    it copies.
    """
    return _peak(jax.make_jaxpr(function)(*args).jaxpr)


def _peak(jaxpr: Any) -> int:
    last_use = {
        v: i for i, e in enumerate(jaxpr.eqns) for v in e.invars if isinstance(v, Var)
    }
    last_use |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, Var)}
    dying = defaultdict(list)
    for equation in jaxpr.eqns:
        for value in equation.outvars:
            dying[last_use.get(value)].append(value)
    alive = worst = 0
    for index, equation in enumerate(jaxpr.eqns):
        made = sum(_bytes(v) for v in equation.outvars)
        inside = max(
            (_peak(inner) for inner in inner_jaxprs(equation.params)), default=0
        )
        worst = max(worst, alive + max(made, inside))
        alive += made - sum(_bytes(v) for v in dying[index])
        alive -= sum(_bytes(v) for v in equation.outvars if v not in last_use)
    return worst


def _bytes(value: Any) -> int:
    return getattr(value.aval, "size", 0) * getattr(
        getattr(value.aval, "dtype", None), "itemsize", 0
    )
