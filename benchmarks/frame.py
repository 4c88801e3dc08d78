"""A frame: time to compile, first and steady frames, arithmetic, memory, energy.

Several forms of a model (sizes of a batch, precisions, CUDA graphs) take turns.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import clock, machine, profile, report
from benchmarks.inputs import noise_frame, num_bytes, prepared_params
from benchmarks.report import in_precision
from sdvsr_jax.config import PRESETS, ModelConfig
from sdvsr_jax.flops import frame_flops
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Prepared

Row = dict[str, Any]
"""One line of the table; a figure that was not measured is absent or None."""


def run(options: argparse.Namespace, results: report.Results) -> None:
    """The piece 'frame': precisions, batches and graphs of a model take turns."""
    peaks = machine.ceilings(options.precision)
    results["peaks"] = peaks
    on_gpu = device_kind()[0] == "cuda"
    graphs = [False, True] if options.graphs and on_gpu else [False]
    for model in options.models:
        config = PRESETS[model]()
        forms = [
            Form(in_precision(config, precision), batch, graph)
            for precision in options.precision
            for batch in options.batches or [1]
            for graph in graphs
        ]
        for size in options.sizes:
            width, height = report.size_of(size)
            rows = measure(
                forms,
                width,
                height,
                options.frames,
                peaks,
                profile_frames=options.profile,
            )
            results["rows"] += rows
            report.write_json(options.out / "results.json", results)
            _show(rows)


def _show(rows: list[Row]) -> None:
    print(report.table(rows), flush=True)
    for row in rows:
        if row.get("operations"):
            table = profile.table(row["operations"], row["median_ms"])
            print(f"\n{row['what']} x{row['batch']}:\n{table}")


class Form(NamedTuple):
    """A way to run a model; ``graphs`` come behind the same form without."""

    config: ModelConfig
    batch: int = 1
    graphs: bool = False

    @property
    def name(self) -> str:
        graphs = " graphs" if self.graphs else ""
        return f"{self.config.compute_dtype} x{self.batch}{graphs}"


class Program:
    """A compiled step with its stream; a call computes one frame and waits for it."""

    def __init__(self, form: Form, width: int, height: int, params: Prepared) -> None:
        self.form = form
        self.params = params
        self.lr = noise_frame(width, height, form.batch)
        self.state = init_state(form.config, form.batch, height, width)
        arguments = (params, self.state, self.lr)
        compile_once = functools.partial(compiled, form, arguments)
        self.run, self.compile_seconds = clock.timed(compile_once)
        self.sr: Any = None

    def __call__(self) -> None:
        self.state, self.sr = self.run(self.params, self.state, self.lr)
        jax.block_until_ready(self.sr)


def measure(
    forms: list[Form],
    width: int,
    height: int,
    frames: int,
    peaks: machine.Ceilings,
    *,
    params: Prepared | None = None,
    profile_frames: int = 0,
) -> list[Row]:
    """Returns one row per form, timed in turns; seconds and bytes by default.

    ``profile_frames`` more frames run under the profiler for ``operations``. A form
    that the device refuses has a row with ``note``.
    """
    programs: dict[str, Program] = {}
    refused: list[Row] = []
    for form in forms:
        weights = prepared_params(form.config) if params is None else params
        try:
            program = Program(form, width, height, weights)
            # Kernels are loaded and graphs recorded by the first call.
            programs[form.name] = program
            program()
        except jax.errors.JaxRuntimeError as error:
            programs.pop(form.name, None)
            note = " ".join(str(error).split())[:200]
            refused.append(_labels(form, width, height) | {"note": note})
    # Frames of their own: in turns the counter could not tell the forms apart.
    energies = _joules_per_call(programs)
    times = clock.in_turns(programs, frames)
    rows = []
    for name, program in programs.items():
        row = _row(program, times[name], width, height, peaks)
        row["joules_per_frame"] = energies.get(name)
        if profile_frames:
            row["operations"] = profile.operations(program.run, program, profile_frames)
        rows.append(row)
    return rows + refused


def _labels(form: Form, width: int, height: int) -> Row:
    return {
        "what": "sdvsr_jax graphs" if form.graphs else "sdvsr_jax",
        "model": form.config.name,
        "lr": [width, height],
        "batch": form.batch,
        "precision": form.config.compute_dtype,
        "steps": form.config.diffusion.num_steps,
    }


def _row(
    program: Program,
    times: clock.Times,
    width: int,
    height: int,
    peaks: machine.Ceilings,
) -> Row:
    form = program.form
    one_frame = frame_flops(form.config, width, height)
    flop = form.batch * one_frame
    rate = flop / times.median
    frames_per_s = form.batch / times.median
    peak = peaks[form.config.compute_dtype]
    pixels = np.asarray(program.sr)
    analysis: Any = program.run.memory_analysis()
    # The new state takes the place of the old one, which is counted twice.
    arguments = analysis.argument_size_in_bytes - analysis.alias_size_in_bytes
    arrays = arguments + analysis.output_size_in_bytes
    return {
        **_labels(form, width, height),
        "compile_s": program.compile_seconds,
        "first_frame_s": times.first,
        "median_ms": 1e3 * times.median,
        "p95_ms": 1e3 * times.p95,
        "frames_per_s": frames_per_s,
        "live_streams": int(frames_per_s / clock.LIVE_RATE),
        # A fast frame of NaN would be no frame.
        "finite": bool(np.isfinite(pixels).all()),
        "gflop": flop / 1e9,
        "share_of_peak": rate / peak,
        "params_bytes": num_bytes(program.params),
        "temp_bytes": analysis.temp_size_in_bytes,
        "step_bytes": arrays + analysis.temp_size_in_bytes,
        "peak_device_bytes": machine.peak_device_bytes(),
        "peak_host_bytes": machine.peak_host_bytes(),
    }


def _joules_per_call(programs: dict[str, Program]) -> dict[str, float]:
    """Returns the energy of a frame of every program; empty where it is not counted."""
    # The counter moves in steps of about 20 ms of power.
    calls = 20
    energies = {}
    for name, program in programs.items():
        before = machine.joules()
        if before is None:
            return {}
        for _ in range(calls):
            program()
        used = (machine.joules() or before) - before
        energies[name] = used / (calls * program.form.batch)
    return energies


def compiled(form: Form, arguments: tuple) -> Callable[..., Any]:
    """Returns the program; it consumes the state, its second argument."""
    shapes = jax.eval_shape(lambda *a: a, *arguments)
    # The new state takes the old one's memory, as in every driver of a stream.
    run = jax.jit(
        functools.partial(step, config=form.config),
        donate_argnums=1,
        compiler_options=compiler_options(graphs=form.graphs),
    )
    return run.lower(*shapes).compile()
