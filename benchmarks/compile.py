"""Compile for a GPU that is not there.

XLA's compiler for CUDA needs its package (pip install 'jax[cuda12]'), not the device.
A program that it would refuse there, it refuses here; one that it takes tells how many
kernels a frame has, how many bytes they move and how much memory they need. It cannot
try out which algorithm is fastest, so a real device's program is a little different.
"""

import argparse
import collections
import functools
import os
import re
from typing import Any

import jax

from benchmarks import clock, report
from benchmarks.frame import Form, Row
from benchmarks.inputs import noise_frame
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import init_params
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import init_state, step

# XLA asks this of a device before it decides how to tile and fuse; the figures are from
# the vendor's data sheets.
HOPPER: dict[str, Any] = {
    "compute": (9, 0),
    "cores": 132,
    "shared_core": 233472,
    "shared_block": 232448,
    "threads": 2048,
}
TARGETS: dict[str, dict[str, Any]] = {
    "h100": HOPPER | {"bandwidth": 3.35e12, "l2": 50 * 2**20, "memory": 80e9},
    "h200": HOPPER | {"bandwidth": 4.8e12, "l2": 60 * 2**20, "memory": 141e9},
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

# Instructions that start a kernel; bitcasts, tuples and parameters do not.
KERNEL = re.compile(
    r" = (?:\(.*?\)|\S+) (fusion|fusion-start|custom-call|copy|copy-start|convolution"
    r"|dot|reduce|transpose)\("
)
COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{$")
LOOP = re.compile(r"\bwhile\(.*body=%?([\w.-]+)")
LENGTH = re.compile(r'known_trip_count":\{"n":"(\d+)"')

Counts = collections.Counter[str]


def run(options: argparse.Namespace) -> int:
    """Prints a row per model, precision and size; returns 1 if one was refused."""
    try:
        device = absent_device(options.device)
    # Whatever an absent or older plugin raises.
    except Exception as error:
        reason = str(error)[:120]
        print(f"error: no CUDA compiler here ({reason}): pip install 'jax[cuda12]'")
        return 1
    rows = []
    for config, lr in report.cases(options):
        row = measure(config, lr, device)
        rows.append(row)
        print(report.table([row]), flush=True)
    print(f"\n{report.table(rows)}\n\n{device.device_kind}")
    return int(any("note" in row for row in rows))


def absent_device(name: str) -> Any:
    """Returns a device that programs can be compiled for, and nothing else."""
    # The libraries that only run programs need not be there.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    # It may load the plugin.
    from jax.experimental import topologies

    target = TARGETS[name]
    major, minor = target["compute"]
    description = f"""
        gpu_device_info {{
          threads_per_block_limit: 1024
          threads_per_warp: 32
          shared_memory_per_block: 49152
          shared_memory_per_core: {target["shared_core"]}
          threads_per_core_limit: {target["threads"]}
          core_count: {target["cores"]}
          fpus_per_core: 128
          block_dim_limit_x: 2147483647
          block_dim_limit_y: 65535
          block_dim_limit_z: 65535
          memory_bandwidth: {target["bandwidth"]:.0f}
          l2_cache_size: {target["l2"]}
          clock_rate_ghz: 2
          device_memory_size: {target["memory"]:.0f}
          shared_memory_per_block_optin: {target["shared_block"]}
          cuda_compute_capability {{ major: {major} minor: {minor} }}
          registers_per_core_limit: 65536
          registers_per_block_limit: 65536
        }}
        platform_name: "CUDA"
        device_description_str: "NVIDIA {name.upper()}"
        dnn_version_info {{ major: 9 minor: 8 }}
    """
    topology = topologies.get_topology_desc(
        name, "cuda", target_config=description, topology="1x1x1"
    )
    return topology.devices[0]


def measure(config: ModelConfig, lr: report.Size, device: Any) -> Row:
    """Returns seconds, kernels of a frame (a loop's times its length), bytes and MB; or
    the compiler's reason as ``note``.
    """
    row = Form(config).labels | {"lr": lr}
    # Programs are traced for the device: attention and barriers depend on it.
    with jax.default_device(device):
        try:
            program, seconds = clock.timed(lambda: _compiled(config, lr, device))
        except jax.errors.JaxRuntimeError as error:
            return row | {"note": report.one_line(error)}
    memory: Any = program.memory_analysis()
    costs = program.cost_analysis() or {}
    # Not every version tells it; XLA counts the body of the sampling loop once.
    moved = costs.get("bytes accessed")
    kinds = kernels(program.as_text() or "")
    return row | {
        "compile_s": seconds,
        "kernels": sum(kinds.values()),
        "moved GB": moved and moved / 1e9,
        "held MB": memory.argument_size_in_bytes / 1e6,
        "temporary MB": memory.temp_size_in_bytes / 1e6,
    }


def _compiled(config: ModelConfig, lr: report.Size, device: Any) -> Any:
    def arguments() -> tuple:
        raw = init_params(jax.random.key(0), config)
        params = prepare(raw, config)
        state = init_state(config, 1, lr.height, lr.width)
        return params, state, noise_frame(lr)

    # Shapes alone: nothing runs on a device that is not there, and the published
    # model's weights need not exist.
    shapes = jax.eval_shape(arguments)
    place = jax.sharding.SingleDeviceSharding(device)
    run = jax.jit(
        functools.partial(step, config=config),
        donate_argnums=1,
        in_shardings=place,
        out_shardings=place,
        compiler_options=compiler_options(),
    )
    return run.lower(*shapes).compile()


def kernels(program: str) -> Counts:
    """Returns how many of each kind a frame starts, from a compiled program's text."""
    bodies: dict[str, list[str]] = {}
    name = ""
    entry = ""
    for line in program.splitlines():
        match = COMPUTATION.match(line)
        if match is not None:
            is_entry, name = match.groups()
            bodies[name] = []
            entry = name if is_entry else entry
        elif name:
            bodies[name].append(line)
    return _count(entry, bodies)


def _count(name: str, bodies: dict[str, list[str]]) -> Counts:
    total: Counts = collections.Counter()
    for line in bodies[name]:
        loop = LOOP.search(line)
        kernel = KERNEL.search(line)
        if loop is not None:
            length = LENGTH.search(line)
            # XLA writes the length where it knows it; a frame has no other loops.
            turns = int(length[1]) if length else 1
            in_body = _count(loop[1], bodies)
            for kind, count in in_body.items():
                total[kind] += turns * count
        elif kernel is not None:
            total[kernel[1]] += 1
    return total
