"""Our step beside other implementations of it, in one run: the same weights, noise
and frames; on a CPU also beside a network that a user might pick instead.

Each implementation takes turns with our plain program, and the frames of each that
computes our step are compared with our float32 ones.
"""

import argparse
import functools
from collections.abc import Callable, Iterator

import jax

from benchmarks import clock, report, runtimes
from benchmarks.frame import Form, Row
from benchmarks.inputs import random_params
from benchmarks.runtimes import Stream
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.types import Params

MODES = ("eager", "compiled", "graphs")
"""How PyTorch runs; graphs: compiled, with CUDA graphs."""

TOLERANCE = 1e-4
"""Most relative error of a float32 frame in another library: sums of hundreds of
products in another order, four timesteps and two frames of feedback long. One word of
the step left out is 1e-2 and more.
"""


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'against': all models, at all sizes."""
    rows = results["rows"]
    for config, lr in report.cases(options):
        for row in compare(config, lr, options.frames, modes=options.torch):
            rows.append(row)
            # Compilers are slow, and a run may be stopped.
            report.write_json(options.out / "results.json", results)
    print(report.table(rows), flush=True)


def compare(
    config: ModelConfig,
    lr: report.Size,
    rounds: int,
    *,
    modes: list[str],
    raw: Params | None = None,
) -> Iterator[Row]:
    """Yields one row per implementation, with ``error`` from our float32 frames.

    An implementation that cannot run here has a row with the reason as ``note``.
    """
    raw = random_params(config) if raw is None else raw
    plain = runtimes.ours(config, raw, lr)
    reference = plain
    if config.compute_dtype != "float32":
        # So that an error in 16 bits is that form's own.
        exact = report.in_precision(config, "float32")
        reference = runtimes.ours(exact, raw, lr)
    labels = Form(config).labels | {"lr": lr}
    (times,) = clock.in_turns([plain], rounds)
    yield labels | times.figures() | {"error": plain.error(reference)}
    for name, make in _makers(config, raw, lr, modes).items():
        row = labels | {"what": name}
        try:
            stream = make()
        # Not installed, or its compiler gave up; the rest is still worth having.
        except Exception as error:
            yield row | {"note": report.one_line(error)}
            continue
        ours, theirs = clock.in_turns([plain, stream], rounds)
        row |= theirs.figures()
        row["of_ours"] = theirs.median / ours.median
        row["cpu_of_ours"] = theirs.cpu_median / ours.cpu_median
        # Another network's frames are other frames.
        if name not in runtimes.COMPACT:
            error = stream.error(reference)
            # Not `>`, which a frame of NaN would pass.
            is_right = error <= TOLERANCE or config.compute_dtype != "float32"
            row["error"] = error
            row["note"] = None if is_right else "other frames than ours"
        print(f"         {name}", flush=True)
        yield row


def _makers(
    config: ModelConfig, raw: Params, lr: report.Size, modes: list[str]
) -> dict[str, Callable[[], Stream]]:
    makers: dict[str, Callable[[], Stream]] = {}
    make = functools.partial
    platform, *_ = device_kind()
    if platform == "cuda":
        # Behind the plain program, which has loaded its kernels.
        makers["sdvsr_jax graphs"] = make(runtimes.ours, config, raw, lr, graphs=True)
    for mode in modes:
        makers[f"PyTorch {mode}"] = make(runtimes.torch_step, config, raw, lr, mode)
    is_small = isinstance(config.flow, FlowNetConfig)
    on_cpu = jax.default_backend() == "cpu"
    if is_small and on_cpu and config.compute_dtype == "float32":
        # Made by the first runtime that asks for it: an exporter may be absent.
        graph = functools.cache(make(runtimes.export, config, raw, lr))
        for name, load in runtimes.GRAPHS.items():
            makers[name] = make(runtimes.run_graph, load, graph, config, lr)
        for name, make_compact in runtimes.COMPACT.items():
            makers[name] = make(make_compact, lr)
    return makers
