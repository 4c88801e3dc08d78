"""Where the device's time goes, by its own clock: every operation of a compiled step,
named as in our code.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

NAMED = re.compile(r"%?([\w.-]+) = .*metadata=\{.*?op_name=\"([^\"]*)\"")
NETWORKS = {
    "UNet": "U-Net",
    "ControlNet": "guidance",
    "TemporalAutoencoder": "autoencoder",
    "RAFT": "flow",
    "FlowNet": "flow",
}


class Operation(NamedTuple):
    """One instruction of the program: the path of its source (modules, primitive),
    calls and seconds per frame.
    """

    name: str
    source: str
    calls: float
    seconds: float


def operations(
    program: Any, frame: Callable[[], object], frames: int
) -> list[Operation]:
    """Of ``frames`` calls of ``frame``, which runs ``program`` (compiled) once and
    waits; longest first.

    Empty where the device cannot be profiled.
    """
    sources = {
        _plain(name): source for name, source in NAMED.findall(program.as_text())
    }
    try:
        trace = _trace(frame, frames)
    except (RuntimeError, ValueError) as error:
        print(f"no profile: {error}")
        return []
    spent: dict[str, list[float]] = {}
    for name, seconds in _events(trace):
        spent.setdefault(name, []).append(seconds)
    found = [
        Operation(
            name,
            sources.get(_plain(name), name),
            len(times) / frames,
            sum(times) / frames,
        )
        for name, times in spent.items()
    ]
    return sorted(found, key=lambda operation: -operation.seconds)


def _trace(frame: Callable[[], object], frames: int) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(frames):
                frame()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return jax.profiler.ProfileData.from_file(str(path))


def _events(trace: Any) -> list[tuple[str, float]]:
    """(instruction, seconds); on a GPU every kernel, elsewhere what the host says it
    executed.
    """
    planes = list(trace.planes)
    device = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    found = []
    for plane in device or planes:
        for line in plane.lines:
            if device and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = dict(event.stats).get("hlo_op") or (
                    event.name if device else None
                )
                if device and str(name).startswith("command_buffer"):
                    name = (
                        event.name
                    )  # a CUDA graph: its kernels have the names of their instructions
                if name and not _encloses(name):
                    found.append((str(name), event.duration_ns / 1e9))
    return found


def _plain(name: str) -> str:
    """Kernels are called as their instructions, but without dots."""
    return name.replace(".", "_")


def _encloses(name: str) -> bool:
    """Loops and calls are told again by what is in them."""
    return name.split(".")[0] in ("while", "call", "conditional")


def part(operation: Operation) -> str:
    """The network that an operation belongs to."""
    found = [NETWORKS[n] for n in re.findall(r"\w+", operation.source) if n in NETWORKS]
    return found[0] if found else "between the networks"


def primitive(operation: Operation) -> str:
    """What it computes, by its last JAX primitive; kernels that a library launches go
    by their own name.
    """
    return operation.source.rsplit("/", 1)[-1]


def table(found: list[Operation], frame_ms: float, longest: int = 20) -> str:
    """Shares by network and by primitive, and the longest operations, as Markdown."""
    busy = sum(o.seconds for o in found)
    lines = [f"{1e3 * busy:.4g} ms of device time in a frame of {frame_ms:.4g} ms"]
    for heading, key in (("network", part), ("primitive", primitive)):
        sums: dict[str, list[float]] = {}
        for o in found:
            total = sums.setdefault(key(o), [0.0, 0.0])
            total[0] += o.calls
            total[1] += o.seconds
        lines += ["", f"| {heading} | calls | ms | share |", "|---|---:|---:|---:|"]
        order = sorted(sums.items(), key=lambda item: -item[1][1])[:longest]
        lines += [
            f"| {name} | {n:.0f} | {1e3 * s:.3g} | {100 * s / busy:.0f} % |"
            for name, (n, s) in order
        ]
    lines += ["", "| operation | source | calls | ms |", "|---|---|---:|---:|"]
    lines += [
        f"| {o.name} | {o.source} | {o.calls:.0f} | {1e3 * o.seconds:.3g} |"
        for o in found[:longest]
    ]
    return "\n".join(lines)
