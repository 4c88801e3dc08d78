"""How much memory a device has to give."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def available(device: Any) -> int | None:
    """Bytes that can still be taken: of the device, or of this machine (its container's limit counts)."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return min([*_machine(), *_container()], default=None)


def _machine() -> Iterator[int]:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _container() -> Iterator[int]:
    """What is left below the limit of this process's control group, version 2 and version 1."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        root = Path("/sys/fs/cgroup")
        most, now = _read(root / limit).strip(), _read(root / used).strip()
        if most.isdecimal() and now.isdecimal() and int(most) < 2**60:
            stat = dict(line.split() for line in _read((root / used).parent / "memory.stat").splitlines())
            yield max(0, int(most) - int(now) + int(stat.get(cache, 0)))


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text("ascii")
    except (OSError, ValueError):
        return ""
