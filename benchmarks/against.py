"""Our step beside other implementations of it, in one run: the same weights, noise
and frames; on a CPU also beside a network that a user might pick instead.

Each implementation takes turns with our plain program, and the frames of each that
computes our step are compared with our float32 ones.
"""

import argparse
import functools
from collections.abc import Callable

import jax

from benchmarks import clock, report, runtimes
from benchmarks.frame import Form, Row
from benchmarks.inputs import random_params
from benchmarks.runtimes import Stream
from sdvsr_jax.config import PRESETS, FlowNetConfig, ModelConfig
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.types import Params

MODES = ("eager", "compiled", "graphs")
"""How PyTorch runs; graphs: compiled, with CUDA graphs."""

TOLERANCE = 1e-4
"""Most relative error of a float32 frame in another library: sums of hundreds of
products in another order, four timesteps and two frames of feedback long. One word of
the step left out is 1e-2 and more.
"""

Keep = Callable[[list[Row]], None]


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'against': all models, at all sizes."""
    before = results["rows"]

    def keep(rows: list[Row]) -> None:
        results["rows"] = before + rows
        report.write_json(options.out / "results.json", results)

    for model in options.models:
        config = PRESETS[model]()
        for size in options.sizes:
            lr = report.size_of(size)
            for precision in options.precision:
                form = report.in_precision(config, precision)
                before = before + compare(
                    form, lr, options.frames, modes=options.torch, keep=keep
                )
                keep([])
    print(report.table(before), flush=True)


def compare(
    config: ModelConfig,
    lr: report.Size,
    rounds: int,
    *,
    modes: list[str],
    raw: Params | None = None,
    keep: Keep = lambda rows: None,
) -> list[Row]:
    """Returns one row per implementation, with ``error`` from our float32 frames.

    An implementation that cannot run here has a row with the reason as ``note``.
    ``keep`` gets the rows so far after every implementation: compilers are slow, and a
    run may be stopped.
    """
    raw = random_params(config) if raw is None else raw
    plain = runtimes.ours(config, raw, lr)
    reference = plain
    if config.compute_dtype != "float32":
        # So that an error in 16 bits is that form's own.
        exact = report.in_precision(config, "float32")
        reference = runtimes.ours(exact, raw, lr)
    labels = Form(config).labels | {"lr": lr}
    times = clock.in_turns({"ours": plain}, rounds)
    first = labels | times["ours"].figures() | {"error": plain.error(reference)}
    rows: list[Row] = [first]
    for name, make in _makers(config, raw, lr, modes).items():
        row = labels | {"what": name}
        try:
            stream = make()
        # Not installed, or its compiler gave up; the rest is still worth having.
        except Exception as error:
            rows.append(row | {"note": report.one_line(error)})
            continue
        times = clock.in_turns({"ours": plain, name: stream}, rounds)
        row |= times[name].figures()
        row["of_ours"] = times[name].median / times["ours"].median
        row["cpu_of_ours"] = times[name].cpu_median / times["ours"].cpu_median
        # Another network's frames are other frames.
        if name not in runtimes.COMPACT:
            row |= _judged(stream.error(reference), config)
        rows.append(row)
        print(f"         {name}", flush=True)
        keep(rows)
    return rows


def _judged(error: float, config: ModelConfig) -> Row:
    is_wrong = config.compute_dtype == "float32" and not error <= TOLERANCE
    return {"error": error, "note": "other frames than ours" if is_wrong else None}


def _makers(
    config: ModelConfig, raw: Params, lr: report.Size, modes: list[str]
) -> dict[str, Callable[[], Stream]]:
    makers: dict[str, Callable[[], Stream]] = {}
    if device_kind()[0] == "cuda":
        # Behind the plain program, which has loaded its kernels.
        makers["sdvsr_jax graphs"] = lambda: runtimes.ours(config, raw, lr, graphs=True)
    for mode in modes:
        # Bound here, because the makers are called after the loop.
        makers[f"PyTorch {mode}"] = lambda mode=mode: runtimes.torch_step(
            config, raw, lr, mode
        )
    is_small = isinstance(config.flow, FlowNetConfig)
    on_cpu = jax.default_backend() == "cpu"
    if is_small and on_cpu and config.compute_dtype == "float32":
        graph = functools.cache(lambda: runtimes.export(config, raw, lr))
        for name, load in runtimes.GRAPHS.items():
            makers[name] = lambda load=load: runtimes.run_graph(
                load, graph(), config, lr
            )
        for name, make in runtimes.COMPACT.items():
            makers[name] = lambda make=make: make(lr)
    return makers
