"""Speed and memory; `python -m benchmarks --help` tells what can be measured."""

from benchmarks.machine import stand_in_for_jaxtyping

# Before anything of sdvsr_jax is imported.
stand_in_for_jaxtyping()
