"""How much memory a device has to give, and how much a job will take."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax


def available(device: Any) -> int | None:
    """Bytes that can still be taken: of the device, or of this machine (its container's
    limit counts).
    """
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return min([*_machine(), *_container()], default=None)


def _machine() -> Iterator[int]:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _container() -> Iterator[int]:
    """What is left below the limit of this process's control group, version 2 and
    version 1.
    """
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        root = Path("/sys/fs/cgroup")
        most, now = _read(root / limit).strip(), _read(root / used).strip()
        if most.isdecimal() and now.isdecimal() and int(most) < 2**60:
            stat = dict(
                line.split()
                for line in _read((root / used).parent / "memory.stat").splitlines()
            )
            yield max(0, int(most) - int(now) + int(stat.get(cache, 0)))


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text("ascii")
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class Memory:
    """Predicted bytes: on the device (weights, state, temporaries) and on the host
    (frames waiting, encoder).
    """

    device: int
    host: int

    def fits(self, platform: str, free: int | None) -> bool:
        """Whether ``free`` bytes are enough; on the CPU, device and host are the same
        memory.
        """
        total = self.device + (self.host if platform == "cpu" else 0)
        return free is None or total <= free


CPU_SCRATCH = 1.25
"""XLA's count of temporaries leaves out what CPU kernels allocate themselves:
convolutions pack their operands.
"""


def needs(compiled: Any, platform: str) -> int:
    """Bytes of a compiled program's arguments, results and temporaries."""
    found = compiled.memory_analysis()
    held = (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
    )
    return held + temporaries(found.temp_size_in_bytes, platform)


def temporaries(counted: int, platform: str) -> int:
    """Bytes of a program's intermediate values as they are really taken."""
    return round(counted * (CPU_SCRATCH if platform == "cpu" else 1))


def size_of(tree: Any) -> int:
    """Bytes of all arrays, abstract ones too; random keys are too small to count."""
    arrays = [
        a
        for a in jax.tree.leaves(tree)
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)
    ]
    return sum(a.size * a.dtype.itemsize for a in arrays)
