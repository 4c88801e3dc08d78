"""The pieces of a benchmark run; each adds its part to the results and prints it."""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

from benchmarks import (
    arithmetic,
    device,
    latency,
    media,
    parts,
    profile,
    report,
    rivals,
    startup,
    sweeps,
    xla_options,
)
from benchmarks.precisions import activations, in_precision, precision_of
from sdvsr_jax.config import PRESETS, ModelConfig
from sdvsr_jax.ops.attention import device_kind

Results = dict[str, Any]
SIZES = {
    "nano": [(160, 90), (320, 180), (480, 270), (640, 360)],
    "stream_diffvsr": [(160, 90), (240, 136), (320, 180), (480, 270)],
}
"""Of the linear-cost sweep."""
STREAMS = [1, 2, 4, 8]


def configs(options: argparse.Namespace) -> list[ModelConfig]:
    """Every model in every precision that was asked for."""
    return [
        in_precision(PRESETS[model](), precision)
        for model in options.models
        for precision in options.precision
    ]


def rows(options: argparse.Namespace, results: Results) -> None:
    """Compile times, first and steady frames, memory, arithmetic, for every model and
    size.
    """
    forms = [False]
    if options.graphs and device_kind()[0] == "cuda":
        forms.append(True)
    for config in configs(options):
        for size, graphs in itertools.product(options.sizes, forms):
            width, height = report.size_of(size)
            row = latency.measure(
                config,
                width,
                height,
                options.frames,
                results["peaks"],
                compiles=options.compiles and not graphs,
                profiled=options.profile,
                graphs=graphs,
            )
            results["rows"].append(row)
            if row["operations"]:
                table = profile.table(row["operations"], row["median_ms"])
                print(f"\n{row['what']} {_name(config)} {size}:", table, sep="\n")
    print(report.table(results["rows"]))


def torch(options: argparse.Namespace, results: Results) -> None:
    """The PyTorch equivalent beside ours, taking turns."""
    for model in options.models:
        config = PRESETS[model]()
        if missing := rivals.missing(config):
            print(f"torch    not compared: {', '.join(missing)} not installed")
            continue
        found = rivals.compare(
            config,
            *report.size_of(options.sizes[0]),
            options.frames,
            precisions=tuple(options.precision),
            torch_modes=tuple(options.torch),
            keep=lambda rows: report.write_json(
                options.out / "results.json", results | {"rows": rows}
            ),
        )
        results["rows"] += found
        print(report.table(found))


def start(options: argparse.Namespace, results: Results) -> None:
    """A fresh process up to its first frame."""
    results["start"] = startup.measure()
    print(startup.table(results["start"]))


def io(options: argparse.Namespace, results: Results) -> None:
    """With and without media in and out."""
    results["io"] = found = media.measure(options.frames)
    for row in results["rows"]:
        if (row["what"], row["model"], row["precision"], row["lr"]) == (
            "sdvsr_jax",
            "nano",
            "float32",
            found["lr"],
        ):
            row["with_io_ms"] = found["with_io_ms"]
    print(
        f"media    {found['alone_ms']:.4g} ms per frame alone (before {found['alone_before_ms']:.4g}, after "
        f"{found['alone_after_ms']:.4g}), {found['with_io_ms']:.4g} ms in a file job: "
        f"{100 * found['io_share']:+.1f} %"
    )


def sizes(options: argparse.Namespace, results: Results) -> None:
    """Cost against the number of pixels."""
    for config in configs(options):
        pairs = (
            [report.size_of(s) for s in options.sweep]
            if options.sweep
            else SIZES[config.name]
        )
        points = sweeps.sizes(config, pairs, max(2, options.frames // 2))
        results["sizes"][_name(config)] = points
        print(report.plain_table(points))
        print(
            f"sizes    {_name(config)}: ms = a * pixels ** {sweeps.exponent(points):.3f} (1: linear)"
        )


def streams(options: argparse.Namespace, results: Results) -> None:
    """Throughput against the number of streams in a batch; in every round one leaves
    and one joins.
    """
    width, height = report.size_of(options.stream_size)
    for config in configs(options):
        points = sweeps.streams(
            config, STREAMS, width, height, max(2, options.frames // 2)
        )
        results["streams"][_name(config)] = points
        print(report.plain_table(points))


def by_part(options: argparse.Namespace, results: Results) -> None:
    """Where a frame's time goes."""
    for config in configs(options):
        width, height = report.size_of(options.sizes[0])
        found = parts.measure(
            config, width, height, max(2, options.frames // 2), results["peaks"]
        )
        saved = parts.savings(config, width, height, max(4, options.frames))
        results["parts"][_name(config)] = {"parts": found, "savings": saved}
        print(parts.table(found, saved))


def by_operation(options: argparse.Namespace, results: Results) -> None:
    """How near convolutions and products come to the peak."""
    for config in configs(options):
        width, height = report.size_of(options.sizes[0])
        found = arithmetic.measure(
            config, width, height, max(2, options.frames // 2), results["peaks"]
        )
        results["arithmetic"][_name(config)] = found
        print(report.plain_table(found))


def by_option(options: argparse.Namespace, results: Results) -> None:
    """What options of XLA would change."""
    for config in configs(options):

        def keep(rows: list[latency.Row], name: str = _name(config)) -> None:
            results["options"][name] = rows
            report.write_json(options.out / "results.json", results)
            print(report.plain_table(rows[-1:]), flush=True)

        width, height = report.size_of(options.sizes[0])
        found = xla_options.measure(
            config, width, height, options.frames, xla_options.known_sets(), keep=keep
        )
        print(report.plain_table(found))


def by_hand(options: argparse.Namespace, results: Results) -> None:
    """What kernels written by hand would bring."""
    if device_kind()[0] != "cuda":
        print("written  not measured: the kernels are for an NVIDIA GPU")
        return
    from benchmarks import written  # of a backend that later versions of JAX may lack

    for config in configs(options):
        found = written.measure(
            config, *report.size_of(options.sizes[0]), options.frames
        )
        results["written"][_name(config)] = found
        print(report.plain_table(found))


def _name(config: ModelConfig) -> str:
    return f"{config.name} {precision_of(config)}"


PIECES: dict[str, Callable[[argparse.Namespace, Results], None]] = {
    "rows": rows,
    "torch": torch,
    "start": start,
    "io": io,
    "sizes": sizes,
    "streams": streams,
    "parts": by_part,
    "arithmetic": by_operation,
    "options": by_option,
    "written": by_hand,
}
"""In the order in which they run."""
NEEDS_PEAKS = {"rows", "parts", "arithmetic"}
NEEDS_FILES = {"start", "io"}
"""Read and write video: they need what `python -m infer` needs."""


def empty(precisions: list[str], needs_peaks: bool) -> Results:
    """Results before the first piece: the machine and, if they are needed, its
    ceilings.
    """
    types = dict.fromkeys(map(activations, precisions))
    peaks = device.ceilings(tuple(types)) if needs_peaks else {}
    return {
        "machine": device.describe(),
        "peaks": peaks,
        "rows": [],
        "sizes": {},
        "streams": {},
        "parts": {},
        "arithmetic": {},
        "options": {},
        "written": {},
    }
