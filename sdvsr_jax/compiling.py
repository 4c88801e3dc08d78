"""What the compiler is asked to do differently for this model."""

import functools

import jax

from sdvsr_jax.attention import program_device

CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
"""YNNPACK for products only. XLA gives it convolutions as well, but Eigen is faster at those of this model: a frame
takes four fifths of the time, a step of training three quarters (docs/performance.md)."""


def compiler_options() -> dict[str, str] | None:
    """For `jax.jit`, on the device that programs are traced for; None where there is nothing to ask for."""
    return CPU_OPTIONS if program_device().platform == "cpu" and _are_known() else None


@functools.cache
def _are_known() -> bool:
    """The option is experimental: a version of XLA that lacks it refuses it."""
    try:
        jax.jit(lambda x: x, compiler_options=CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
