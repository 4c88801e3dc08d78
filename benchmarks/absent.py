"""Compile for a GPU that is not there: python -m benchmarks compile [--models
stream_diffvsr] [--sizes 320x180].

XLA's compiler for CUDA needs its package (pip install 'jax[cuda12]'), not the device.
What it would refuse there, it refuses here, and its program tells how many kernels a
frame takes and how much memory. It cannot try out which algorithm is fastest, so the
program of a real device is a little different.
"""

import argparse
import collections
import functools
import re
import time
from typing import Any

import jax

from benchmarks import report
from benchmarks.precisions import CHOICES, in_precision, precision_of
from sdvsr_jax.config import PRESETS, ModelConfig
from sdvsr_jax.networks import init_params, prepare
from sdvsr_jax.stream import init_state, step

TARGETS = {
    "h200": {
        "compute": (9, 0),
        "cores": 132,
        "bandwidth": 4.8e12,
        "l2": 60 * 2**20,
        "memory": 141e9,
        "shared_core": 233472,
        "shared_block": 232448,
        "threads": 2048,
    },
    "rtx4090": {
        "compute": (8, 9),
        "cores": 128,
        "bandwidth": 1.008e12,
        "l2": 72 * 2**20,
        "memory": 25.2e9,
        "shared_core": 102400,
        "shared_block": 101376,
        "threads": 1536,
    },
}
"""What XLA asks of a device before it decides how to tile and fuse (vendor's data
sheets).
"""
KERNEL = re.compile(
    r" = (?:\(.*?\)|\S+) (fusion|fusion-start|custom-call|copy|copy-start|convolution|dot|reduce|transpose)\("
)


def main(arguments: list[str]) -> int:
    """The command; 1 if something was refused."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models", nargs="+", default=sorted(PRESETS), choices=sorted(PRESETS)
    )
    parser.add_argument("--sizes", nargs="+", default=["320x180"])
    parser.add_argument("--precision", nargs="+", default=["bfloat16"], choices=CHOICES)
    parser.add_argument("--device", default="h200", choices=sorted(TARGETS))
    options = parser.parse_args(arguments)
    try:
        device = absent_device(options.device)
    except Exception as error:  # whatever a missing or older plugin raises
        print(
            f"error: no CUDA compiler here ({str(error)[:120]}): pip install 'jax[cuda12]'"
        )
        return 1
    rows = []
    for model in options.models:
        for precision in options.precision:
            for size in options.sizes:
                config = in_precision(PRESETS[model](), precision)
                rows.append(compiled(config, *report.size_of(size), device))
                print(report.plain_table(rows[-1:]), flush=True)
    print(
        f"\n{report.plain_table(rows)}\n\n{device.device_kind}, jax {jax.__version__}"
    )
    return 1 if any(row["refused"] for row in rows) else 0


def absent_device(name: str) -> Any:
    """A device that programs can be compiled for, and nothing else."""
    from jax.experimental import topologies

    t = TARGETS[name]
    description = f"""
        gpu_device_info {{
          threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
          shared_memory_per_core: {t["shared_core"]} threads_per_core_limit: {t["threads"]} core_count: {t["cores"]}
          fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          memory_bandwidth: {t["bandwidth"]:.0f} l2_cache_size: {t["l2"]} clock_rate_ghz: 2
          device_memory_size: {t["memory"]:.0f} shared_memory_per_block_optin: {t["shared_block"]}
          cuda_compute_capability {{ major: {t["compute"][0]} minor: {t["compute"][1]} }}
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
        }}
        platform_name: "CUDA" device_description_str: "NVIDIA {name.upper()}"
        dnn_version_info {{ major: 9 minor: 8 }}
    """
    return topologies.get_topology_desc(
        name, "cuda", target_config=description, topology="1x1x1"
    ).devices[0]


def compiled(
    config: ModelConfig, width: int, height: int, device: Any
) -> dict[str, Any]:
    """Seconds, kernels in a frame (a loop's times its length), MB of parameters, state
    and temporary arrays.
    """
    row: dict[str, Any] = {
        "model": config.name,
        "precision": precision_of(config),
        "lr": [width, height],
    }
    with jax.default_device(device):  # programs are traced for it
        params = jax.eval_shape(
            lambda: prepare(init_params(jax.random.key(0), config), config)
        )
        state = jax.eval_shape(lambda: init_state(config, 1, height, width))
        frame = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
        start = time.perf_counter()
        try:
            on_device = jax.sharding.SingleDeviceSharding(device)
            run = jax.jit(
                functools.partial(step, config=config),
                donate_argnums=1,
                in_shardings=on_device,
                out_shardings=on_device,
            )
            program = run.lower(params, state, frame).compile()
        except jax.errors.JaxRuntimeError as error:
            return row | {"refused": " ".join(str(error).split())[:300]}
    analysis: Any = program.memory_analysis()
    kinds = kernels(program.as_text() or "")
    return row | {
        "compile s": time.perf_counter() - start,
        "kernels": sum(kinds.values()),
        "held MB": analysis.argument_size_in_bytes / 1e6,
        "temporary MB": analysis.temp_size_in_bytes / 1e6,
        "refused": "",
    }


def kernels(program: str) -> collections.Counter:
    """How many of each kind a frame starts, from the text of the compiled program."""
    bodies: dict[str, list[str]] = {}
    name = entry = ""
    for line in program.splitlines():
        if found := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line):
            name = found[2]
            bodies[name] = []
            entry = name if found[1] else entry
        elif name:
            bodies[name].append(line)

    def count(body: str) -> collections.Counter:
        total: collections.Counter = collections.Counter()
        for line in bodies[body]:
            if loop := re.search(r"\bwhile\(.*body=%?([\w.-]+)", line):
                trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                total.update(
                    {
                        k: n * int(trips[1] if trips else 1)
                        for k, n in count(loop[1]).items()
                    }
                )
            elif found := KERNEL.search(line):
                total[found[1]] += 1
        return total

    return count(entry)
