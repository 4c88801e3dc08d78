"""What the compiler is asked for does what it says, and is not asked of one that does
not know it.
"""

import jax
import jax.numpy as jnp
import pytest

from sdvsr_jax.ops import xla as compiling
from sdvsr_jax.ops.subpixel import plain_conv


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the option is for CPUs")
def test_convolutions_stay_convolutions():
    """Without the option they become fusions of YNNPACK."""
    run = jax.jit(
        plain_conv, static_argnums=(2, 3), compiler_options=compiling.compiler_options()
    )
    program = run.lower(
        jnp.ones((1, 32, 32, 32)), jnp.ones((3, 3, 32, 32)), (1, 1), (1, 1)
    ).compile()
    assert " convolution(" in program.as_text()


def test_what_graphs_ask_for_is_known():
    """XLA refuses names that it does not know, on a CPU as well."""
    with pytest.raises(jax.errors.JaxRuntimeError):
        jax.jit(jnp.sin, compiler_options={"xla_gpu_no_such_option": "1"}).lower(
            0.0
        ).compile()
    jax.jit(jnp.sin, compiler_options=compiling.compiler_options(graphs=True)).lower(
        0.0
    ).compile()


def test_an_unknown_option_is_left_out(monkeypatch):
    known = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    monkeypatch.setattr(
        compiling, "CPU_OPTIONS", known | {"xla_cpu_no_such_option": "1"}
    )
    assert compiling.compiler_options() == known
    monkeypatch.setattr(compiling, "CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    assert compiling.compiler_options() is None


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the option is for CPUs")
def test_what_lies_behind_a_barrier_is_computed_once():
    """Without the option XLA of jax 0.10 computes it again in every loop that reads it."""

    def twice(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        floor = jax.lax.optimization_barrier(jnp.floor(x))
        return floor[::-1] * 2, floor.T + 1

    run = jax.jit(twice, compiler_options=compiling.compiler_options())
    assert run.lower(jnp.ones((64, 64))).compile().as_text().count(" floor(") == 1
