"""Where a frame's time goes by the device's clock: the operations of a step."""

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks import report

# An instruction of the program and the path of the code that it comes from.
SOURCE = re.compile(r"%?([\w.-]+) = .*metadata=\{.*?op_name=\"([^\"]*)\"")

NETWORKS = {
    "UNet": "U-Net",
    "ControlNet": "guidance",
    "TemporalAutoencoder": "autoencoder",
    "RAFT": "flow",
    "FlowNet": "flow",
}
# The time of loops and calls is told again by the instructions in them.
ENCLOSING = ("while", "call", "conditional")

# The rest of a frame's 500 to 4,000 operations is short.
LONGEST = 20


class Operation(NamedTuple):
    """An instruction: the path of its source (modules, primitive), calls and seconds of
    a frame.
    """

    name: str
    source: str
    calls: float
    seconds: float

    @property
    def network(self) -> str:
        for word in re.findall(r"\w+", self.source):
            if word in NETWORKS:
                return NETWORKS[word]
        return "between the networks"

    @property
    def primitive(self) -> str:
        """The last JAX primitive; kernels of a library go by their own name."""
        return self.source.rsplit("/", 1)[-1]


def operations(
    program: Any, frame: Callable[[], object], frames: int
) -> list[Operation]:
    """Returns the operations of ``frames`` calls of ``frame``, the longest first.

    ``frame`` runs ``program`` (compiled) once and waits. The list is empty where the
    device cannot be profiled.
    """
    instructions = SOURCE.findall(program.as_text())
    # Kernels are called as their instructions, but without dots.
    sources = {name.replace(".", "_"): source for name, source in instructions}
    try:
        trace = _trace(frame, frames)
    except (RuntimeError, ValueError) as error:
        print(f"no profile: {error}")
        return []
    spans: dict[str, list[float]] = defaultdict(list)
    for name, seconds in _events(trace):
        spans[name].append(seconds)
    rows = []
    for name, times in spans.items():
        source = sources.get(name.replace(".", "_"), name)
        calls = len(times) / frames
        seconds = sum(times) / frames
        rows.append(Operation(name, source, calls, seconds))
    return sorted(rows, key=lambda row: -row.seconds)


def _trace(frame: Callable[[], object], frames: int) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(frames):
                frame()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return jax.profiler.ProfileData.from_file(str(path))


def _events(trace: Any) -> Iterator[tuple[str, float]]:
    """Yields (instruction, seconds) of a GPU's kernels, or of the host's calls."""
    planes = list(trace.planes)
    # A GPU has planes of its own; on a CPU the host's plane holds the instructions.
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    for plane in gpus or planes:
        for line in plane.lines:
            # Other lines of a GPU sum its streams up once more.
            if gpus and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                name = _instruction(event, bool(gpus))
                if name and name.split(".")[0] not in ENCLOSING:
                    yield name, event.duration_ns / 1e9


def _instruction(event: Any, on_gpu: bool) -> str | None:
    name = dict(event.stats).get("hlo_op")
    if name is None:
        return event.name if on_gpu else None
    # Kernels of a CUDA graph have the names of their instructions themselves.
    in_graph = on_gpu and str(name).startswith("command_buffer")
    return event.name if in_graph else str(name)


def table(rows: list[Operation], frame_ms: float) -> str:
    """Returns shares by network, by primitive and by operation, the longest first."""
    busy_ms = 1e3 * sum(row.seconds for row in rows)
    parts = [f"{busy_ms:.4g} ms of device time in a frame of {frame_ms:.4g} ms"]
    for key in ("network", "primitive", "source"):
        calls: dict[str, float] = defaultdict(float)
        ms: dict[str, float] = defaultdict(float)
        for row in rows:
            name = getattr(row, key)
            calls[name] += row.calls
            ms[name] += 1e3 * row.seconds
        order = sorted(ms, key=lambda name: -ms[name])
        shares = []
        for name in order[:LONGEST]:
            share = 100 * ms[name] / busy_ms
            figures = {"calls": calls[name], "ms": ms[name], "share %": share}
            shares.append({key: name} | figures)
        parts.append(report.table(shares))
    return "\n\n".join(parts)
