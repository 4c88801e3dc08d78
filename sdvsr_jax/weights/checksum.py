"""Digests of files and of weights."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_arrays(named: Iterable[tuple[str, np.ndarray]], head: str = "") -> str:
    """Hex digest of a text and of arrays in their order: names, shapes, types and
    values.
    """
    digest = hashlib.sha256(head.encode())
    for name, array in named:
        label = f"{name} {array.shape} {array.dtype}"
        digest.update(label.encode())
        # flat, because an array without axes has no other view
        values = np.ascontiguousarray(array).reshape(-1)
        # as bytes, because hashlib knows no bfloat16
        raw = values.view(np.uint8)
        digest.update(raw.data)
    return digest.hexdigest()
