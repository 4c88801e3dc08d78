"""Whether two runs are the same job: digests of the input and of the weights."""

import hashlib
import os
from pathlib import Path

import numpy as np

from infer.sources.info import VideoInfo
from sdvsr_jax.types import PyTree
from sdvsr_jax.weights.checksum import sha256, sha256_of_arrays

# Bytes up to which a file is read from end to end, in about a second.
WHOLE = 256 * 2**20
NUM_SAMPLES = 256
# Bytes: together 64 MiB, so that no job waits long for it.
SAMPLE = 2**18


def file_identity(info: VideoInfo) -> str:
    """Returns a digest that changes when the input does.

    Of a folder of frames every file counts.
    """
    if info.files and info.files != (info.path,):
        digest = hashlib.sha256()
        for path in info.files:
            name = os.path.basename(path)
            line = f"{name} {_digest(path)}\n"
            digest.update(line.encode())
        return digest.hexdigest()
    return _digest(info.path)


def _digest(path: str) -> str:
    """SHA-256 of a file.

    Of big ones: of samples all over it, its size and its time of change.
    """
    status = os.stat(path)
    size = status.st_size
    if size <= WHOLE:
        return sha256(Path(path))
    facts = f"{size} {status.st_mtime_ns}"
    digest = hashlib.sha256(facts.encode())
    last = size - SAMPLE
    with open(path, "rb") as file:
        for number in range(NUM_SAMPLES):
            place = number * last // (NUM_SAMPLES - 1)
            file.seek(place)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()


def params_digest(params: PyTree) -> str:
    """SHA-256 over all weights as they are used."""
    import jax  # takes a second, and finding finished outputs needs none of it

    leaves = jax.tree_util.tree_leaves_with_path(params)
    # Lazy: one array at a time is fetched from the device.
    arrays = ((jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in leaves)
    return sha256_of_arrays(arrays)
