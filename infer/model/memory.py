"""The memory that a device has to give, and the memory that a job will take."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

CONTAINER = Path("/sys/fs/cgroup")
"""Limits of this process's control group: of version 2, then of version 1."""
LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
PAGE = mmap.PAGESIZE
UNLIMITED = 2**60
"""Version 1 writes a huge number where there is no limit."""
CPU_SCRATCH = 1.25
"""XLA's count of temporaries leaves out the memory that CPU kernels allocate
themselves: convolutions pack their operands.
"""


def available(device: Any) -> int | None:
    """Returns the bytes that can still be taken; None if nobody knows.

    They are the device's own, or this machine's below its container's limit.
    """
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    rooms = [*_machine(), *_container()]
    return min(rooms, default=None)


def resident() -> int:
    """Returns the bytes of this process in memory; 0 where nobody knows."""
    text = _read(Path("/proc/self/statm"))
    pages = text.split()
    # The first number is of address space, the second of pages in memory.
    return int(pages[1]) * PAGE if pages else 0


def _machine() -> Iterator[int]:
    text = _read(Path("/proc/meminfo"))
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            kibibytes = line.split()[1]
            yield int(kibibytes) * 1024


def _container() -> Iterator[int]:
    for limit_name, used_name, cache_name in LIMITS:
        limit = _read(CONTAINER / limit_name).strip()
        used = _read(CONTAINER / used_name).strip()
        if not (limit.isdecimal() and used.isdecimal()):
            continue
        if int(limit) >= UNLIMITED:
            continue
        statistics = (CONTAINER / used_name).with_name("memory.stat")
        lines = _read(statistics).splitlines()
        counts = dict(line.split() for line in lines)
        # Cached files are counted as used, but are given up when memory is asked for.
        cached = int(counts.get(cache_name, 0))
        room = int(limit) - int(used) + cached
        yield max(0, room)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class Memory:
    """Predicted bytes.

    device: weights, state, temporaries. host: frames that wait, encoder. process: the
    rest of this process, mostly libraries and the memory of the compiler.
    """

    device: int
    host: int
    process: int = 0

    def fits(self, platform: str, free: int | None) -> bool:
        """Returns whether ``free`` bytes are enough; None is always enough.

        On the CPU, device and host are the same memory.
        """
        total = self.device
        if platform == "cpu":
            total += self.host
        return free is None or total <= free


def needs(compiled: Any, platform: str) -> int:
    """Returns the bytes of a program's arguments, results and temporaries."""
    analysis = compiled.memory_analysis()
    arguments = analysis.argument_size_in_bytes
    results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    rest = temporaries(analysis.temp_size_in_bytes, platform)
    return arguments + results + rest


def temporaries(counted: int, platform: str) -> int:
    """Returns the bytes of intermediate values as they are really taken."""
    return round(counted * CPU_SCRATCH) if platform == "cpu" else counted


def size_of(tree: Any) -> int:
    """Returns the bytes of all arrays, abstract ones too.

    Random keys are too small to count.
    """
    total = 0
    for array in jax.tree.leaves(tree):
        if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            total += array.size * array.dtype.itemsize
    return total
