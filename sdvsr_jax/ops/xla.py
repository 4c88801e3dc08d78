"""Options of the compiler that pay for this model."""

import functools
import os

import jax

from sdvsr_jax.ops.attention import program_device

# YNNPACK for products only: XLA gives it convolutions as well, but Eigen is faster at
# those of this model. And `jax.lax.optimization_barrier` holds: XLA of jax 0.10 takes
# barriers out before it joins loops (newer ones do not), and then every loop that reads
# the warped frame warps it again (docs/log.md). The first level of LLVM's optimisations
# makes loops as fast as the second and takes seven tenths of the time to compile.
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_backend_optimization_level": "1",
}

# A frame on an NVIDIA GPU as CUDA graphs with its convolutions in them, independent
# kernels at the same time and no products merged that wait for each other: nine tenths
# of the published model's time, twice the temporary memory (docs/log.md). Only behind
# the plain program, because cuDNN cannot load a kernel while a graph is recorded: where
# no other program of this process has used them, it fails with its status 5003.
GRAPH_OPTIONS = {
    "xla_gpu_enable_command_buffer": (
        "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONVOLUTION"
    ),
    "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
    "xla_gpu_dot_merger_threshold_mb": "0",
}


def compiler_options(*, graphs: bool = False) -> dict[str, str] | None:
    """Returns options for `jax.jit`, on the device that programs are traced for; None
    where there is nothing to ask for.
    """
    if graphs:
        return GRAPH_OPTIONS
    if program_device().platform != "cpu":
        return None
    # What is set for the whole process is the user's word.
    flags = os.environ.get("XLA_FLAGS", "")
    free = tuple(item for item in CPU_OPTIONS.items() if item[0] not in flags)
    return known_options(free) or None


@functools.cache
def known_options(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Returns those that XLA takes: they are experimental, and a version that lacks one
    refuses it.
    """
    # All at once: every trial compiles a program.
    if _is_taken(dict(items)):
        return dict(items)
    return {name: value for name, value in items if _is_taken({name: value})}


def _is_taken(options: dict[str, str]) -> bool:
    smallest = jax.jit(jax.lax.optimization_barrier, compiler_options=options)
    try:
        smallest.lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
