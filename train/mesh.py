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
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        count = int(os.environ["JAX_NUM_PROCESSES"])
        index = int(os.environ["JAX_PROCESS_ID"])
        jax.distributed.initialize(address, count, index)


def make_mesh(fsdp: int = 1) -> Mesh:
    """(devices / fsdp, fsdp) over every device of every process."""
    count = jax.device_count()
    if count % fsdp:
        raise ValueError(f"fsdp={fsdp} does not divide the {count} devices")
    shape = (count // fsdp, fsdp)
    # the compiler finds out how everything between in- and outputs is divided
    automatic = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=automatic)


def parameter_shardings(tree: Any, mesh: Mesh) -> Any:
    """Each array split over `fsdp` along its largest dimension that divides; the rest
    is replicated.
    """
    size = mesh.shape["fsdp"]

    def rule(leaf: Any) -> NamedSharding:
        shape = np.shape(leaf)
        candidates = []
        for axis, side in enumerate(shape):
            # of zero every size is a divisor
            is_long_enough = side >= size
            if side % size == 0 and is_long_enough:
                candidates.append(axis)
        names: list[str | None] = [None] * len(shape)
        if size > 1 and candidates:
            longest = max(candidates, key=lambda axis: shape[axis])
            names[longest] = "fsdp"
        spec = PartitionSpec(*names)
        return NamedSharding(mesh, spec)

    return jax.tree.map(rule, tree)


def place(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every process holds whole -> global arrays, sharded by
    `parameter_shardings`.
    """

    def place_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
        array = np.asarray(leaf)

        def part(index: Any) -> np.ndarray:
            # of a scalar the index is one too, and no array
            return np.asarray(array[index])

        return jax.make_array_from_callback(array.shape, sharding, part)

    shardings = parameter_shardings(tree, mesh)
    return jax.tree.map(place_leaf, tree, shardings)


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """This process's rows -> its part of the global batch. ValueError if the devices do
    not divide it.
    """
    first, *_ = jax.tree.leaves(batch)
    rows = len(first)
    devices = len(mesh.local_devices)
    if rows % devices:
        raise ValueError(
            f"data.batch_size gives {rows} windows for {devices} devices: use a "
            "multiple"
        )
    sharding = NamedSharding(mesh, BATCH)

    def place_leaf(leaf: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, leaf)

    return jax.tree.map(place_leaf, batch)


def to_host(tree: Any) -> Any:
    """Whole arrays on the host of every process (a collective: all processes must call
    it).
    """

    def fetch(x: Any) -> np.ndarray:
        if not x.is_fully_addressable:
            from jax.experimental import multihost_utils

            # tiled: the shards side by side, not stacked by process
            x = multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.tree.map(fetch, tree)
