"""Our step beside what else computes it, in one run: the same weights, noise and
frames; on a CPU also beside a network that a user might pick instead.

An implementation is a `Stream`; all of them take turns, and the frames of each that
computes our step are compared with our float32 ones.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import clock, report, runtimes
from benchmarks.frame import Row
from benchmarks.inputs import noise_frame, prepared_params, random_params
from benchmarks.machine import absent_packages
from benchmarks.report import in_precision
from sdvsr_jax.config import PRESETS, FlowNetConfig, ModelConfig
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.stream import compile_step, frame_noise, init_state, padded_size
from sdvsr_jax.types import Params, Prepared

MODES = ("eager", "compiled", "graphs")
"""How PyTorch runs; graphs: compiled, with CUDA graphs."""

# The first frame, and two with history.
COMPARED_FRAMES = 3

TIMED_ALONE = "timed alone"

Keep = Callable[[list[Row]], None]


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'against': all models, at all sizes."""
    path = options.out / "results.json"
    for model in options.models:
        config = PRESETS[model]()
        modes = options.torch
        if lacking := packages_lacking(config):
            print(f"{model} not compared: {', '.join(lacking)} not installed")
            modes = []
        if not modes and not _runs_elsewhere(config, options.precision):
            continue
        for size in options.sizes:
            rows = compare(
                config,
                Size(*report.size_of(size)),
                options.frames,
                precisions=options.precision,
                modes=modes,
                keep=lambda rows: report.write_json(
                    path, {**results, "rows": results["rows"] + rows}
                ),
            )
            print(report.table(rows), flush=True)
            results["rows"] += rows


class Stream:
    """A video stream that is driven one frame per call and waits for the result."""

    def __init__(
        self, advance: Callable[[int], Any], to_numpy: Callable[[Any], np.ndarray]
    ) -> None:
        self._advance = advance
        self._to_numpy = to_numpy
        self._index = 0
        self.outputs: list[np.ndarray] = []

    def __call__(self) -> None:
        sr = self._advance(self._index)
        self._index += 1
        if len(self.outputs) < COMPARED_FRAMES:
            self.outputs.append(self._to_numpy(sr))

    def error(self, reference: "Stream") -> float:
        """Returns the largest relative difference of a frame from the reference's."""
        pairs = zip(self.outputs, reference.outputs)
        norm = np.linalg.norm
        return max(float(norm(a - b) / norm(b)) for a, b in pairs)


class Size(NamedTuple):
    width: int
    height: int


def packages_lacking(config: ModelConfig) -> list[str]:
    """Returns packages that PyTorch's forms need and that are not installed."""
    # The published model's networks are those of the two libraries.
    if isinstance(config.flow, FlowNetConfig):
        return absent_packages("torch")
    return absent_packages("torch", "torchvision", "diffusers")


def _runs_elsewhere(config: ModelConfig, precisions: list[str]) -> bool:
    """Whether other runtimes are asked: for the small model, on a CPU."""
    is_small = isinstance(config.flow, FlowNetConfig)
    on_cpu = jax.default_backend() == "cpu"
    return is_small and on_cpu and "float32" in precisions


def compare(
    config: ModelConfig,
    size: Size,
    rounds: int,
    *,
    precisions: list[str],
    modes: list[str],
    raw: Params | None = None,
    keep: Keep = lambda rows: None,
) -> list[Row]:
    """Returns one row per implementation, with ``error`` from our float32 frames.

    An implementation that cannot run here has a row with the reason as ``note``.
    ``keep`` gets the rows timed so far, after every implementation: compilers are slow,
    and a run may be stopped.
    """
    raw = random_params(config) if raw is None else raw
    # float32, so that an error in 16 bits is that form's own.
    reference = ours(in_precision(config, "float32"), raw, size)
    for _ in range(COMPARED_FRAMES):
        reference()
    streams: dict[str, Stream] = {}
    labels: dict[str, Row] = {}
    rows: list[Row] = []
    for precision in precisions:
        for what, make in _makers(config, precision, raw, size, modes).items():
            name = f"{what} {precision}"
            labels[name] = _labels(config, what, precision, size)
            print(f"         {name}", flush=True)
            try:
                streams[name] = _warm(make)
            # Of another library's compiler, say; the rest is still worth having.
            except Exception as error:
                note = " ".join(str(error).split())[:200]
                rows.append(labels[name] | {"note": note})
                continue
            # A few rounds: these rows only count if the run is stopped.
            times = clock.in_turns({name: streams[name]}, min(rounds, 3))
            figures = _figures(what, times[name], streams[name], reference)
            rows.append(labels[name] | figures | {"note": TIMED_ALONE})
            keep(rows)
    failed = [row for row in rows if row["note"] != TIMED_ALONE]
    times = clock.in_turns(streams, rounds)
    together = [
        labels[name] | _figures(labels[name]["what"], times[name], stream, reference)
        for name, stream in streams.items()
    ]
    for row in together:
        # The first is ours.
        row["of_ours"] = row["median_ms"] / together[0]["median_ms"]
        row["cpu_of_ours"] = row["cpu_ms"] / together[0]["cpu_ms"]
    return together + failed


def _makers(
    config: ModelConfig, precision: str, raw: Params, size: Size, modes: list[str]
) -> dict[str, Callable[[], Stream]]:
    config = in_precision(config, precision)
    makers: dict[str, Callable[[], Stream]] = {
        "sdvsr_jax": lambda: ours(config, raw, size)
    }
    if device_kind()[0] == "cuda":
        # Behind the plain program, which has loaded its kernels.
        makers["sdvsr_jax graphs"] = lambda: ours(config, raw, size, graphs=True)
    for mode in modes:
        # Bound here, because the makers are called after the loop.
        makers[f"torch {mode}"] = lambda mode=mode: theirs(config, raw, size, mode)
    if _runs_elsewhere(config, [precision]):
        for name, make in runtimes.EXPORTED.items():
            makers[name] = lambda make=make: Stream(
                make(config, raw, *size), np.asarray
            )
        for name, make in runtimes.COMPACT.items():
            makers[name] = lambda make=make: Stream(make(*size), np.asarray)
    return makers


def _warm(make: Callable[[], Stream]) -> Stream:
    stream = make()
    for _ in range(COMPARED_FRAMES):
        stream()
    return stream


def _labels(config: ModelConfig, what: str, precision: str, size: Size) -> Row:
    return {
        "what": what,
        "model": config.name,
        "lr": list(size),
        "batch": 1,
        "precision": precision,
        "steps": config.diffusion.num_steps,
    }


def _figures(what: str, times: clock.Times, stream: Stream, reference: Stream) -> Row:
    figures = {
        "median_ms": 1e3 * times.median,
        "p95_ms": 1e3 * times.p95,
        "frames_per_s": 1 / times.median,
        "cpu_ms": 1e3 * times.cpu_median,
    }
    # Another network's frames are other frames.
    if what not in runtimes.COMPACT:
        figures["error"] = stream.error(reference)
    return figures


def ours(
    config: ModelConfig, raw: Params, size: Size, *, graphs: bool = False
) -> Stream:
    """Returns our stream on raw parameters."""
    params = prepared_params(config, raw)
    state = init_state(config, 1, size.height, size.width)
    run = compile_step(config, graphs=graphs)

    def advance(index: int) -> jax.Array:
        nonlocal state
        lr = noise_frame(*size, seed=index % COMPARED_FRAMES)
        state, sr = run(params, state, lr)
        return jax.block_until_ready(sr)

    return Stream(advance, np.asarray)


def theirs(config: ModelConfig, raw: Params, size: Size, mode: str) -> Stream:
    """Returns PyTorch's stream: 'eager', 'compiled' or 'graphs' (as MODES says)."""
    grid = (size.height, size.width)
    if grid != padded_size(*grid, config):
        raise ValueError(
            f"{size.width}x{size.height} is padded by our step, which PyTorch's form "
            "does not do: give a size that needs no padding, such as 320x180"
        )
    # The oracles are in the repository, not in the package.
    from tests.oracles import torch_stream

    # nano's form takes what `prepare` precomputes, the published one needs nothing.
    weights: Params | Prepared = raw
    if isinstance(config.flow, FlowNetConfig):
        weights = prepared_params(in_precision(config, "float32"), raw)
    run, to_numpy = torch_stream.runner(config, weights, mode)
    state = init_state(config, 1, *grid)

    def advance(index: int) -> Any:
        # The same (seed, stream, frame) as ours, so the same noise.
        counted = state._replace(frame_index=jnp.full(1, index))
        noise = frame_noise(counted, grid, config)
        lr = noise_frame(*size, seed=index % COMPARED_FRAMES)
        return run(lr, noise)

    return Stream(advance, to_numpy)
