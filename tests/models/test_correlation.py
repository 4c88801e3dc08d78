import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdvsr_jax.models.flow import correlation
from sdvsr_jax.models.flow.correlation import (
    NUM_LEVELS,
    RADIUS,
    make_lookup,
    volume_bytes,
)

HEIGHT, WIDTH, CHANNELS = 9, 12, 6


@pytest.fixture(scope="module")
def maps():
    keys = jax.random.split(jax.random.key(0))
    return [
        np.asarray(jax.random.normal(k, (2, HEIGHT, WIDTH, CHANNELS))) for k in keys
    ]


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace what a GPU would get; it computes the same here, only slowly."""
    monkeypatch.setattr(correlation, "device_kind", lambda: ("cuda", 9.0))


@pytest.fixture(scope="module")
def lookups(maps):
    def compiled(kind: str):
        lookup = jax.jit(lambda c: make_lookup(*map(jnp.asarray, maps), kind)(c))
        return lookup.lower(
            jax.ShapeDtypeStruct((2, HEIGHT, WIDTH, 2), jnp.float32)
        ).compile()

    found = {kind: compiled(kind) for kind in ("volume", "on_demand")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        on_a_gpu(monkeypatch)
        return found | {"fused": compiled("on_demand")}


@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.0, 0.7, 8.0, 300.0, 1e30]))
@settings(max_examples=20, deadline=None)
def test_volume_and_on_demand_agree_anywhere(lookups, seed: int, spread: float) -> None:
    coords = (
        spread * np.random.default_rng(seed).standard_normal((2, HEIGHT, WIDTH, 2))
    ).astype(np.float32)
    expected = lookups["volume"](coords)
    for kind in ("on_demand", "fused"):
        np.testing.assert_allclose(lookups[kind](coords), expected, atol=2e-6)


@pytest.mark.parametrize("kind", ["volume", "on_demand", "fused"])
def test_lookup_by_definition(maps, lookups, kind: str) -> None:
    """Bilinear samples, zero outside, of the dot products with the pooled map; x is the
    slow offset.
    """
    coords = (
        np.random.default_rng(1)
        .uniform(-3, 14, (2, HEIGHT, WIDTH, 2))
        .astype(np.float32)
    )
    found = np.asarray(lookups[kind](coords)).reshape(
        2, HEIGHT, WIDTH, NUM_LEVELS, 2 * RADIUS + 1, -1
    )
    for level, dx, dy in [(0, 0, 0), (0, -4, 2), (1, 3, -1), (2, 0, 1), (3, -1, 0)]:
        pooled = maps[1]
        for _ in range(level):
            h, w = pooled.shape[1] // 2, pooled.shape[2] // 2
            pooled = (
                pooled[:, : 2 * h, : 2 * w]
                .reshape(2, h, 2, w, 2, CHANNELS)
                .mean((2, 4))
            )
        n, i, j = 1, 4, 7
        x, y = coords[n, i, j] / 2**level + (dx, dy)
        expected = 0.0
        for row, column in itertools.product(
            range(pooled.shape[1]), range(pooled.shape[2])
        ):
            weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            expected += (
                weight * (maps[0][n, i, j] @ pooled[n, row, column]) / CHANNELS**0.5
            )
        assert found[n, i, j, level, dx + RADIUS, dy + RADIUS] == pytest.approx(
            expected, abs=1e-5
        )


def test_auto_takes_the_volume_while_it_fits(
    maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(kind: str) -> int:
        coords = jnp.zeros((2, HEIGHT, WIDTH, 2))
        jaxpr = jax.make_jaxpr(lambda a, b, c: make_lookup(a, b, kind)(c))(
            *maps, coords
        )
        return max(
            v.aval.size for e in jaxpr.eqns for v in e.outvars if len(v.aval.shape) == 5
        )

    volume = 2 * (HEIGHT * WIDTH) ** 2
    assert largest("auto") == largest("volume") >= volume
    monkeypatch.setattr(correlation, "VOLUME_LIMIT", volume_bytes(2, HEIGHT, WIDTH) - 1)
    assert largest("auto") == largest("on_demand")


def test_size_of_the_volume_at_720p() -> None:
    assert volume_bytes(1, 720 // 8, 1280 // 8) == 4 * 14400 * (
        14400 + 3600 + 22 * 40 + 11 * 20
    )


def test_on_demand_memory_is_linear_in_pixels() -> None:
    def temporary(side: int) -> int:
        shape = (1, side, side, 64)
        lookup = jax.jit(lambda a, b, c: make_lookup(a, b, "on_demand")(c))
        arrays = (
            jax.ShapeDtypeStruct(s, jnp.float32)
            for s in (shape, shape, (*shape[:3], 2))
        )
        return lookup.lower(*arrays).compile().memory_analysis().temp_size_in_bytes

    assert temporary(128) < 4.5 * temporary(64)
    assert temporary(128) < volume_bytes(1, 128, 128) / 2


def test_on_a_gpu_a_lookup_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over chunks starts kernels in proportion to the pixels: 55,000 a frame for
    a 1280x720 input.
    """

    def loops() -> int:
        arrays = [
            jax.ShapeDtypeStruct((1, 64, 64, n), jnp.float32) for n in (256, 256, 2)
        ]
        return str(
            jax.make_jaxpr(lambda a, b, c: make_lookup(a, b, "on_demand")(c))(*arrays)
        ).count("scan[")

    assert loops() == NUM_LEVELS
    on_a_gpu(monkeypatch)
    assert loops() == 0
