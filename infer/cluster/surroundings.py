"""What decides bytes on a machine, besides the video and the options."""

import hashlib
import platform
from pathlib import Path
from typing import Any

from infer.model.engine import find_device
from infer.model.threads import num_threads
from infer.model.versions import versions


def surroundings(device: str) -> dict[str, Any]:
    """Returns the kind of the device and the versions of all that computes there."""
    target = find_device(device)
    facts = {"device": target.device_kind, **versions(), "infer": _own_digest()}
    if target.platform == "cpu":
        # XLA compiles for the instructions that a processor has.
        facts["processor"] = _processor()
        facts["threads"] = num_threads()
    return facts


def _own_digest() -> str:
    """Digest of this package's source, which both ends must share."""
    package = Path(__file__).parents[1]
    source = hashlib.sha256()
    # In an order that no file system decides.
    for path in sorted(package.rglob("*.py")):
        source.update(path.read_bytes())
    return source.hexdigest()[:16]


def _processor() -> str:
    """Architecture and instructions of the processor, the latter as a digest."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.machine()
    instructions = ""
    for line in text.splitlines():
        # x86 has flags, ARM has Features; the same for every core.
        if line.startswith(("flags", "Features")):
            instructions = line
            break
    digest = hashlib.sha256(instructions.encode()).hexdigest()
    return f"{platform.machine()} {digest[:8]}"
