"""Options of the compiler do their work, and are left out where it has none of them."""

import jax
import jax.numpy as jnp
import pytest

from sdvsr_jax.ops import xla as compiling
from sdvsr_jax.ops.subpixel import plain_conv

on_a_cpu = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="the option is for CPUs"
)


@on_a_cpu
def test_convolutions_stay_convolutions() -> None:
    """Without the option they become fusions of YNNPACK."""
    options = compiling.compiler_options()
    run = jax.jit(plain_conv, static_argnums=(2, 3), compiler_options=options)
    x = jnp.ones((1, 32, 32, 32))
    kernel = jnp.ones((3, 3, 32, 32))
    traced = run.lower(x, kernel, (1, 1), (1, 1))
    program = traced.compile()
    assert " convolution(" in program.as_text()


def compile_sine(options: dict[str, str] | None) -> None:
    run = jax.jit(jnp.sin, compiler_options=options)
    run.lower(0.0).compile()


def test_options_of_graphs_are_known() -> None:
    """XLA refuses names that it does not know, on a CPU as well."""
    with pytest.raises(jax.errors.JaxRuntimeError):
        compile_sine({"xla_gpu_no_such_option": "1"})
    compile_sine(compiling.compiler_options(graphs=True))


def test_an_unknown_option_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    unknown = {"xla_cpu_no_such_option": "1"}
    monkeypatch.setattr(compiling, "CPU_OPTIONS", known | unknown)
    assert compiling.compiler_options() == known
    monkeypatch.setattr(compiling, "CPU_OPTIONS", unknown)
    assert compiling.compiler_options() is None


@on_a_cpu
def test_flags_of_the_process_win(monkeypatch: pytest.MonkeyPatch) -> None:
    level = "xla_backend_optimization_level"
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    options = compiling.compiler_options() or {}
    assert options[level] == "1"
    monkeypatch.setenv("XLA_FLAGS", f"--{level}=0")
    remaining = compiling.compiler_options() or {}
    del options[level]
    assert remaining == options


@on_a_cpu
def test_values_behind_a_barrier_are_computed_once() -> None:
    """Without the option XLA of jax 0.10 computes them in every reading loop."""

    def twice(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        floor = jax.lax.optimization_barrier(jnp.floor(x))
        return floor[::-1] * 2, floor.T + 1

    options = compiling.compiler_options()
    run = jax.jit(twice, compiler_options=options)
    program = run.lower(jnp.ones((64, 64))).compile()
    text = program.as_text()
    assert text.count(" floor(") == 1
