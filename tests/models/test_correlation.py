"""Windows of correlations: two forms, one definition."""

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
    """Trace the form of a GPU; it computes the same here, only slowly."""
    monkeypatch.setattr(correlation, "device_kind", lambda: ("cuda", 9.0))


@pytest.fixture(scope="module")
def lookups(maps):
    features, prev_features = (jnp.asarray(m) for m in maps)
    coords = jax.ShapeDtypeStruct((2, HEIGHT, WIDTH, 2), jnp.float32)

    def compiled(kind: str):
        run = jax.jit(lambda c: make_lookup(features, prev_features, kind)(c))
        return run.lower(coords).compile()

    forms = {kind: compiled(kind) for kind in ("volume", "on_demand")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        on_a_gpu(monkeypatch)
        forms["fused"] = compiled("on_demand")
    return forms


@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.0, 0.7, 8.0, 300.0, 1e30]))
@settings(max_examples=20, deadline=None)
def test_volume_and_on_demand_agree_anywhere(lookups, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    coords = spread * rng.standard_normal((2, HEIGHT, WIDTH, 2))
    coords = coords.astype(np.float32)
    expected = lookups["volume"](coords)
    for kind in ("on_demand", "fused"):
        # dot products of 6 values near 1, in another order
        np.testing.assert_allclose(lookups[kind](coords), expected, atol=2e-6)


@pytest.mark.parametrize("kind", ["volume", "on_demand", "fused"])
def test_lookup_by_definition(maps, lookups, kind: str) -> None:
    """Bilinear samples, zero outside, of the dot products with the pooled map; x is the
    slow offset.
    """
    rng = np.random.default_rng(1)
    coords = rng.uniform(-3, 14, (2, HEIGHT, WIDTH, 2)).astype(np.float32)
    windows = np.asarray(lookups[kind](coords))
    windows = windows.reshape(2, HEIGHT, WIDTH, NUM_LEVELS, 2 * RADIUS + 1, -1)
    for level, dx, dy in [(0, 0, 0), (0, -4, 2), (1, 3, -1), (2, 0, 1), (3, -1, 0)]:
        pooled = maps[1]
        for _ in range(level):
            pooled = halve(pooled)
        n, i, j = 1, 4, 7
        x, y = coords[n, i, j] / 2**level + (dx, dy)
        expected = sample(maps[0][n, i, j], pooled[n], x, y)
        value = windows[n, i, j, level, dx + RADIUS, dy + RADIUS]
        # float32 against float64: sums of 24 products
        assert value == pytest.approx(expected, abs=1e-5)


def halve(x: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; a last odd row or column is dropped."""
    b, height, width, c = x.shape
    h, w = height // 2, width // 2
    cells = x[:, : 2 * h, : 2 * w].reshape(b, h, 2, w, 2, c)
    return cells.mean((2, 4))


def sample(vector: np.ndarray, image: np.ndarray, x: float, y: float) -> float:
    """The bilinear sample at (x, y) of the image's dot products with a vector."""
    height, width, channels = image.shape
    total = 0.0
    for row, column in itertools.product(range(height), range(width)):
        weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
        total += weight * (vector @ image[row, column])
    return total / channels**0.5


def test_auto_takes_the_volume_while_it_fits(
    maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(kind: str) -> int:
        coords = jnp.zeros((2, HEIGHT, WIDTH, 2))
        trace = jax.make_jaxpr(lambda a, b, c: make_lookup(a, b, kind)(c))
        values = [v.aval for e in trace(*maps, coords).eqns for v in e.outvars]
        return max(value.size for value in values if len(value.shape) == 5)

    volume = 2 * (HEIGHT * WIDTH) ** 2
    assert largest("auto") == largest("volume") >= volume
    monkeypatch.setattr(correlation, "VOLUME_LIMIT", volume_bytes(2, HEIGHT, WIDTH) - 1)
    assert largest("auto") == largest("on_demand")


def test_size_of_the_volume_at_720p() -> None:
    pixels = 14400 + 3600 + 22 * 40 + 11 * 20
    assert volume_bytes(1, 720 // 8, 1280 // 8) == 4 * 14400 * pixels


def test_on_demand_memory_is_linear_in_pixels() -> None:
    def temporary(side: int) -> int:
        features = jax.ShapeDtypeStruct((1, side, side, 64), jnp.float32)
        coords = jax.ShapeDtypeStruct((1, side, side, 2), jnp.float32)
        run = jax.jit(lambda a, b, c: make_lookup(a, b, "on_demand")(c))
        program = run.lower(features, features, coords).compile()
        return program.memory_analysis().temp_size_in_bytes

    # four times the pixels, and an eighth more for what does not grow evenly
    assert temporary(128) < 4.5 * temporary(64)
    assert temporary(128) < volume_bytes(1, 128, 128) / 2


def test_on_a_gpu_a_lookup_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over chunks starts kernels in proportion to the pixels: 55,000 a frame for
    a 1280x720 input.
    """

    features = jax.ShapeDtypeStruct((1, 64, 64, 256), jnp.float32)
    coords = jax.ShapeDtypeStruct((1, 64, 64, 2), jnp.float32)

    def loops() -> int:
        trace = jax.make_jaxpr(lambda a, b, c: make_lookup(a, b, "on_demand")(c))
        return str(trace(features, features, coords)).count("scan[")

    assert loops() == NUM_LEVELS
    on_a_gpu(monkeypatch)
    assert loops() == 0
