"""A frame: time to compile, steady frames, arithmetic, memory, energy.

Several forms of a model (sizes of a batch, precisions, CUDA graphs) take turns.
"""

import argparse
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import clock, machine, profile, report
from benchmarks.inputs import noise_frame, prepared_params
from sdvsr_jax.config import PRESETS, ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Prepared

Row = dict[str, Any]
"""One line of the table; a figure that was not measured is absent or None."""

# All 16:9, and 16 times as many pixels at the end.
SWEEP = ("160x90", "320x180", "480x270", "640x360")
BATCHES = (1, 2, 4, 8)

# The counter of energy moves in steps of about 20 ms of power.
CALLS_OF_ENERGY = 20


class Form(NamedTuple):
    """A way to run a model; ``graphs`` come behind the same form without."""

    config: ModelConfig
    batch: int = 1
    graphs: bool = False

    @property
    def labels(self) -> Row:
        return {
            "what": "sdvsr_jax graphs" if self.graphs else "sdvsr_jax",
            "model": self.config.name,
            "batch": self.batch,
            "precision": self.config.compute_dtype,
        }


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'frame': precisions, batches and graphs of a model take turns."""
    _measure_all(options, results, options.sizes, options.batches or [1])


def run_sizes(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'sizes': time must be linear in the number of pixels."""
    # One size after the other: on a CPU small frames pay for pages that large ones
    # gave back.
    rows = _measure_all(options, results, options.sweep or SWEEP, [1])
    curves: dict[str, list[Row]] = {}
    for row in rows:
        name = f"{row['model']} {row['precision']}"
        curves.setdefault(name, []).append(row)
    for name, points in curves.items():
        print(f"{name}: ms = a * pixels ** {exponent(points):.3f} (1: linear)")


def run_streams(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'streams': frames/s of all streams together, by size of the batch."""
    batches = options.batches or BATCHES
    _measure_all(options, results, options.sizes[:1], batches)


def _measure_all(
    options: argparse.Namespace,
    results: report.Results,
    sizes: Sequence[str],
    batches: Sequence[int],
) -> list[Row]:
    """Adds the rows to the results, which are on disk after every size."""
    peaks = machine.product_rates(options.precision)
    results["peaks"] = peaks
    platform, *_ = device_kind()
    has_graphs = options.graphs and platform == "cuda"
    graphs = [False, True] if has_graphs else [False]
    new: list[Row] = []
    for model, size in itertools.product(options.models, sizes):
        config = PRESETS[model]()
        lr = report.size_of(size)
        forms = []
        settings = itertools.product(options.precision, batches, graphs)
        for precision, batch, graph in settings:
            form_config = report.in_precision(config, precision)
            forms.append(Form(form_config, batch, graph))
        rows = measure(forms, lr, options.frames, peaks, profile_frames=options.profile)
        new += rows
        results["rows"] += rows
        report.write_json(options.out / "results.json", results)
        print(report.table(rows), flush=True)
        for row in rows:
            if row.get("operations"):
                table = profile.table(row["operations"], row["median_ms"])
                print(f"\n{row['what']} x{row['batch']}:\n{table}")
    return new


def exponent(points: list[Row]) -> float:
    """Returns b of ms = a * pixels**b by least squares: 1 is linear."""
    # A size that the device refused has no time.
    timed = [point for point in points if "median_ms" in point]
    if len(timed) < 2:
        return float("nan")
    # A power is a straight line between logarithms.
    pixels = [math.prod(point["lr"]) for point in timed]
    times = [point["median_ms"] for point in timed]
    slope, _ = np.polyfit(np.log(pixels), np.log(times), 1)
    return float(slope)


class Program:
    """A compiled step with its stream; a call computes one frame and waits for it."""

    def __init__(self, form: Form, lr: report.Size, params: Prepared) -> None:
        self.form = form
        self.params = params
        seeds = range(clock.NUM_INPUTS)
        self.frames = [noise_frame(lr, form.batch, seed) for seed in seeds]
        self.index = 0
        self.state = init_state(form.config, form.batch, lr.height, lr.width)
        first, *_ = self.frames
        # The new state takes the old one's memory, as in every driver of a stream.
        jitted = jax.jit(
            functools.partial(step, config=form.config),
            donate_argnums=1,
            compiler_options=compiler_options(graphs=form.graphs),
        )

        def compile_step() -> Any:
            lowered = jitted.lower(params, self.state, first)
            return lowered.compile()

        self.run, self.compile_seconds = clock.timed(compile_step)

    def __call__(self) -> jax.Array:
        frame = self.frames[self.index % len(self.frames)]
        self.index += 1
        self.state, sr = self.run(self.params, self.state, frame)
        return jax.block_until_ready(sr)


def measure(
    forms: list[Form],
    lr: report.Size,
    frames: int,
    peaks: machine.Rates,
    *,
    params: Prepared | None = None,
    profile_frames: int = 0,
) -> list[Row]:
    """Returns one row per form, timed in turns; seconds and bytes by default.

    ``profile_frames`` more frames run under the profiler for ``operations``. A form
    that the device refuses has a row with ``note``.
    """
    programs: list[Program] = []
    rows: list[Row] = []
    for form in forms:
        weights = _weights(form.config) if params is None else params
        try:
            program = Program(form, lr, weights)
            # Kernels are loaded and graphs recorded by the first call.
            program()
        except jax.errors.JaxRuntimeError as error:
            reason = report.one_line(error)
            rows.append(form.labels | {"lr": lr, "note": reason})
            continue
        programs.append(program)
    all_times = clock.in_turns(programs, frames)
    for program, times in zip(programs, all_times):
        row = form_row(program, times, lr, peaks)
        # Frames of their own: in turns the counter could not tell the forms apart.
        row["joules_per_frame"] = _joules_per_frame(program)
        if profile_frames:
            row["operations"] = profile.operations(program.run, program, profile_frames)
        rows.append(row)
    return rows


# Of the large model they take longer to draw than a frame to compute.
_weights = functools.lru_cache(maxsize=1)(prepared_params)


def form_row(
    program: Program, times: clock.Times, lr: report.Size, peaks: machine.Rates
) -> Row:
    """Returns the figures of a form, all streams of its batch together."""
    form = program.form
    flop = form.batch * frame_flops(form.config, lr.width, lr.height)
    rate = flop / times.median
    pixels = np.asarray(program())
    plan: Any = program.run.memory_analysis()
    arrays = plan.argument_size_in_bytes + plan.output_size_in_bytes
    # The new state takes the place of the old one, which is counted twice.
    arrays -= plan.alias_size_in_bytes
    return {
        **form.labels,
        "lr": lr,
        "compile_s": program.compile_seconds,
        **times.figures(form.batch),
        # A fast frame of NaN would be no frame.
        "finite": bool(np.isfinite(pixels).all()),
        "gflop": flop / 1e9,
        "share_of_peak": rate / peaks[form.config.compute_dtype],
        "step_bytes": arrays + plan.temp_size_in_bytes,
        "peak_device_bytes": machine.peak_device_bytes(),
    }


def _joules_per_frame(program: Program) -> float | None:
    before = machine.joules()
    if before is None:
        return None
    for _ in range(CALLS_OF_ENERGY):
        program()
    after = machine.joules() or before
    num_frames = CALLS_OF_ENERGY * program.form.batch
    return (after - before) / num_frames
