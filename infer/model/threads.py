"""How many threads of a CPU the model takes: that number decides bytes, because XLA
divides sums among them.
"""

import os

VARIABLE = "NPROC"
"""XLA's own, read when its pool of threads is made."""


def num_threads() -> int:
    """Returns the threads of the model on this machine's CPU."""
    asked = os.environ.get(VARIABLE, "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Makes the model take so many threads.

    RuntimeError if its pool of threads is there already and has another number.
    """
    from jax._src import xla_bridge  # no other name tells it

    if count == num_threads():
        return
    if xla_bridge.backends_are_initialized():
        raise RuntimeError(
            f"--threads {count}: this process has computed with {num_threads()} before"
        )
    os.environ[VARIABLE] = str(count)
