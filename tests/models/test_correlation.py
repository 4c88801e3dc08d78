"""Windows of correlations: two forms, one definition."""

import itertools
from collections.abc import Callable

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

# an odd side, whose last row is dropped where the map is halved
HEIGHT, WIDTH, CHANNELS = 9, 12, 6


@pytest.fixture(scope="module")
def maps():
    shape = (2, HEIGHT, WIDTH, CHANNELS)
    keys = jax.random.split(jax.random.key(0))
    return [np.asarray(jax.random.normal(key, shape)) for key in keys]


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the form of a GPU; it computes the same here, only slowly."""
    monkeypatch.setattr(correlation, "device_kind", lambda: ("cuda", 9.0))


@pytest.fixture(scope="module")
def lookups(maps):
    features, prev_features = (jnp.asarray(values) for values in maps)
    coords = jax.ShapeDtypeStruct((2, HEIGHT, WIDTH, 2), jnp.float32)

    def compiled(kind: str):
        def windows(coords: jax.Array) -> jax.Array:
            lookup = make_lookup(features, prev_features, kind)
            return lookup(coords)

        traced = jax.jit(windows).lower(coords)
        return traced.compile()

    forms = {kind: compiled(kind) for kind in ("volume", "on_demand")}
    with pytest.MonkeyPatch.context() as monkeypatch:
        on_a_gpu(monkeypatch)
        forms["fused"] = compiled("on_demand")
    return forms


# all on one pixel, within it, over the map, beyond it, beyond what an integer holds
SPREADS = (0.0, 0.7, 8.0, 300.0, 1e30)


@given(seed=st.integers(0, 2**31), spread=st.sampled_from(SPREADS))
# four of each spread; every example runs three programs
@settings(max_examples=20, deadline=None)
def test_volume_and_on_demand_agree_anywhere(lookups, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    places = spread * rng.standard_normal((2, HEIGHT, WIDTH, 2))
    coords = places.astype(np.float32)
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
    # three pixels beyond the map on either side
    places = rng.uniform(-3, 14, (2, HEIGHT, WIDTH, 2))
    coords = places.astype(np.float32)
    flat = np.asarray(lookups[kind](coords))
    windows = flat.reshape(2, HEIGHT, WIDTH, NUM_LEVELS, 2 * RADIUS + 1, -1)
    features, pooled = maps
    pixel = (1, 4, 7)
    offsets = [[(0, 0), (-4, 2)], [(3, -1)], [(0, 1)], [(-1, 0)]]
    for level, level_offsets in enumerate(offsets):
        for dx, dy in level_offsets:
            x, y = coords[pixel] / 2**level + (dx, dy)
            expected = sample(features[pixel], pooled[1], x, y)
            window = windows[pixel][level]
            value = window[dx + RADIUS, dy + RADIUS]
            # float32 against float64: sums of 24 products
            assert value == pytest.approx(expected, abs=1e-5)
        pooled = halve(pooled)


def halve(x: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; a last odd row or column is dropped."""
    b, height, width, c = x.shape
    h = height // 2
    w = width // 2
    even = x[:, : 2 * h, : 2 * w]
    cells = even.reshape(b, h, 2, w, 2, c)
    return cells.mean((2, 4))


def sample(vector: np.ndarray, image: np.ndarray, x: float, y: float) -> float:
    """The bilinear sample at (x, y) of the image's dot products with a vector."""
    height, width, channels = image.shape
    total = 0.0
    for row, column in itertools.product(range(height), range(width)):
        across = max(0, 1 - abs(x - column))
        down = max(0, 1 - abs(y - row))
        product = vector @ image[row, column]
        total += across * down * product
    return total / channels**0.5


def test_auto_takes_the_volume_while_it_fits(
    maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def largest(kind: str) -> int:
        coords = jnp.zeros((2, HEIGHT, WIDTH, 2))
        program = jax.make_jaxpr(lookup_of(kind))(*maps, coords)
        variables = [
            variable for equation in program.eqns for variable in equation.outvars
        ]
        values = [variable.aval for variable in variables]
        # a volume has five axes, as have the windows of the other form
        return max(value.size for value in values if len(value.shape) == 5)

    volume = 2 * (HEIGHT * WIDTH) ** 2
    of_volume = largest("volume")
    assert of_volume >= volume
    assert largest("auto") == of_volume
    size = volume_bytes(2, HEIGHT, WIDTH)
    # one byte too few
    monkeypatch.setattr(correlation, "VOLUME_LIMIT", size - 1)
    assert largest("auto") == largest("on_demand")


def lookup_of(kind: str) -> Callable:
    """Returns the windows of two maps of features at coordinates."""

    def windows(features, prev_features, coords) -> jax.Array:
        lookup = make_lookup(features, prev_features, kind)
        return lookup(coords)

    return windows


def test_size_of_the_volume_at_720p() -> None:
    # a map of 90x160, and three that are half as large as the one before
    pixels = 14400 + 3600 + 22 * 40 + 11 * 20
    assert volume_bytes(1, 720 // 8, 1280 // 8) == 4 * 14400 * pixels


def test_on_demand_memory_is_linear_in_pixels() -> None:
    def temporary(side: int) -> int:
        features = jax.ShapeDtypeStruct((1, side, side, 64), jnp.float32)
        coords = jax.ShapeDtypeStruct((1, side, side, 2), jnp.float32)
        run = jax.jit(lookup_of("on_demand"))
        program = run.lower(features, features, coords).compile()
        return program.memory_analysis().temp_size_in_bytes

    small = temporary(64)
    large = temporary(128)
    # four times the pixels, and an eighth more for what does not grow evenly
    assert large < 4.5 * small
    assert large < volume_bytes(1, 128, 128) / 2


def test_on_a_gpu_a_lookup_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over chunks starts kernels in proportion to the pixels: 55,000 a frame for
    a 1280x720 input.
    """
    features = jax.ShapeDtypeStruct((1, 64, 64, 256), jnp.float32)
    coords = jax.ShapeDtypeStruct((1, 64, 64, 2), jnp.float32)

    def loops() -> int:
        trace = jax.make_jaxpr(lookup_of("on_demand"))
        program = trace(features, features, coords)
        return str(program).count("scan[")

    assert loops() == NUM_LEVELS
    on_a_gpu(monkeypatch)
    assert loops() == 0
