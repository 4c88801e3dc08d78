"""Speed and memory: `python -m benchmarks --help` lists the measurements."""

from benchmarks.machine import stand_in_for_jaxtyping

# Before anything of sdvsr_jax is imported.
stand_in_for_jaxtyping()
