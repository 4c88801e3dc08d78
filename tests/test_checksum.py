"""Digests of files and weights change with everything that they cover."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdvsr_jax.weights.checksum import sha256, sha256_of_arrays

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def digest(array: np.ndarray, name: str = "kernel", head: str = "") -> str:
    return sha256_of_arrays([(name, array)], head)


@pytest.mark.parametrize(
    "other",
    [
        digest(ARRAY, name="bias"),
        digest(ARRAY, head="config"),
        digest(ARRAY.reshape(3, 2)),
        digest(ARRAY.astype(np.float64)),
        digest(ARRAY.view(np.int32)),
        # the last bit of the second value
        digest(ARRAY + np.float32(1e-7)),
        sha256_of_arrays([("kernel", ARRAY), ("bias", ARRAY)]),
    ],
)
def test_name_head_shape_type_and_values_count(other: str) -> None:
    assert other != digest(ARRAY)


def test_the_memory_order_does_not_count() -> None:
    assert digest(np.asfortranarray(ARRAY)) == digest(ARRAY)


def test_types_that_numpy_lacks_have_a_digest() -> None:
    half = np.asarray(jnp.asarray(ARRAY, jnp.bfloat16))
    assert digest(half) != digest(ARRAY)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_bit_of_a_file_counts(tmp_path_factory, content, data):
    folder: Path = tmp_path_factory.mktemp("file")
    path = folder / "weights"
    path.write_bytes(content)
    before = sha256(path)
    assert sha256(path) == before
    position = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    # of the same length, so that nothing but the bit can tell them apart
    other = bytearray(content)
    other[position] ^= 1 << bit
    path.write_bytes(other)
    assert sha256(path) != before
    path.write_bytes(content + b"\0")
    assert sha256(path) != before
