"""Kernels written by hand compute what the layers do (interpreted: they are for a GPU)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.models.layers import GEGLU, GroupNorm

pytest.importorskip(
    "jax.experimental.pallas.triton", reason="this JAX has no Triton backend any more"
)
from benchmarks import written  # behind the check


@pytest.mark.parametrize("tile", written.TILES)
def test_a_product_with_its_gate(tile: written.Tile) -> None:
    """The number of tokens is no multiple of a tile."""
    x, layer = jax.random.normal(jax.random.key(0), (300, 128)), GEGLU(256, jnp.float32)
    params = jax.tree.map(lambda a: a + 0.1, layer.init(jax.random.key(1), x))
    proj = params["params"]["proj"]
    found = written.geglu(x, proj["kernel"], proj["bias"], tile, interpret=True)
    np.testing.assert_allclose(found, layer.apply(params, x), atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("size", [(12, 20), (5, 8)])
def test_group_norm_of_a_frame_that_is_far_from_zero(size: tuple[int, int]) -> None:
    x = 30 + jax.random.normal(jax.random.key(0), (*size, 256))
    scale, bias = jnp.linspace(-1, 2, 256), jnp.linspace(0, 3, 256)
    layer = GroupNorm(32, written.EPSILON, jnp.float32)
    expected = layer.apply({"params": {"scale": scale, "bias": bias}}, x[None])
    found = written.group_norm(x, scale, bias, 32, interpret=True)
    np.testing.assert_allclose(found, expected[0], atol=1e-4)


def test_the_fastest_form_is_named_and_one_that_is_refused_is_not_in_the_way() -> None:
    weights = {"scale": jnp.full(3, 2.0)}
    forms = {
        "XLA": lambda p, x: nn.silu(p["scale"] * x),
        "other": lambda p, x: p["scale"] * x / (1 + jnp.exp(-2 * x)),
    }

    def refused(p: dict, x: jax.Array) -> jax.Array:
        raise NotImplementedError("no erf")

    row = written.compared(
        forms | {"refused": refused}, weights, jnp.ones((2, 5, 3)), 2
    )
    assert row["tile"] == "other"
    assert row["difference"] < 1e-6
    assert (
        written.compared(
            {"XLA": forms["XLA"], "r": refused}, weights, jnp.ones((2, 5, 3)), 2
        )["refused"]
        == "no erf"
    )
