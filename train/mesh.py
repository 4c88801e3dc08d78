"""One mesh for data parallel and FSDP: batches over all devices, parameters over `fsdp`
of them.
"""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH = PartitionSpec(("data", "fsdp"))


def start_processes() -> None:
    """Join the other processes if JAX_COORDINATOR_ADDRESS (with JAX_NUM_PROCESSES,
    JAX_PROCESS_ID) names them.
    """
    if address := os.environ.get("JAX_COORDINATOR_ADDRESS"):
        jax.distributed.initialize(
            address,
            int(os.environ["JAX_NUM_PROCESSES"]),
            int(os.environ["JAX_PROCESS_ID"]),
        )


def make_mesh(fsdp: int = 1) -> Mesh:
    """(devices / fsdp, fsdp) over every device of every process."""
    count = jax.device_count()
    if count % fsdp:
        raise ValueError(f"fsdp={fsdp} does not divide the {count} devices")
    return jax.make_mesh(
        (count // fsdp, fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2
    )


def parameter_shardings(tree: Any, mesh: Mesh) -> Any:
    """Each array split over `fsdp` along its largest dimension that divides; the rest
    is replicated.
    """
    size = mesh.shape["fsdp"]

    def rule(leaf: Any) -> NamedSharding:
        shape = np.shape(leaf)
        fitting = [
            d for d in range(len(shape)) if shape[d] % size == 0 and shape[d] >= size
        ]
        spec: list[str | None] = [None] * len(shape)
        if size > 1 and fitting:
            spec[max(fitting, key=lambda d: shape[d])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(rule, tree)


def place(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every process holds whole -> global arrays, sharded by
    `parameter_shardings`.
    """
    shardings = parameter_shardings(tree, mesh)
    return jax.tree.map(
        lambda x, s: jax.make_array_from_callback(
            np.shape(x), s, lambda i: np.asarray(x)[i]
        ),
        tree,
        shardings,
    )


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """This process's rows -> its part of the global batch. ValueError if the devices do
    not divide it.
    """
    rows, devices = len(jax.tree.leaves(batch)[0]), len(mesh.local_devices)
    if rows % devices:
        raise ValueError(
            f"data.batch_size gives {rows} windows for {devices} devices: use a "
            "multiple"
        )
    sharding = NamedSharding(mesh, BATCH)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def to_host(tree: Any) -> Any:
    """Whole arrays on the host of every process (a collective: all processes must call
    it).
    """

    def fetch(x: Any) -> np.ndarray:
        if not x.is_fully_addressable:
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(x, tiled=True))
        return np.asarray(x)

    return jax.tree.map(fetch, tree)
