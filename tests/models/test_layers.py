"""Group norm against its definition in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.models.layers import GroupNorm

GROUPS, EPSILON = 4, 1e-5
FRAMES = {
    "noise": lambda rng: rng.standard_normal((2, 9, 10, 8)),
    "far from zero": lambda rng: 300 + rng.standard_normal((2, 9, 10, 8)),
    "nearly constant": lambda rng: 5 + 1e-3 * rng.standard_normal((2, 9, 10, 8)),
    "constant": lambda rng: np.full((2, 9, 10, 8), 7.0),
}


@pytest.mark.parametrize("name", FRAMES)
def test_group_norm_is_the_published_formula(name: str) -> None:
    rng = np.random.default_rng(0)
    x = FRAMES[name](rng).astype(np.float32)
    scale = rng.standard_normal(8).astype(np.float32)
    bias = rng.standard_normal(8).astype(np.float32)
    exact = x.astype(np.float64)
    groups = exact.reshape(2, 90, GROUPS, 2)
    mean = groups.mean((1, 3), keepdims=True)
    variance = groups.var((1, 3), keepdims=True)
    deviation = np.sqrt(variance + EPSILON)
    unit = (groups - mean) / deviation
    expected = unit.reshape(x.shape) * scale + bias
    y = normalise(x, scale, bias)
    # float32 holds 300 to 1.5e-5, and a sum of 90 such numbers to some of these
    tolerance = 2e-3 if name == "far from zero" else 2e-4
    np.testing.assert_allclose(y, expected, atol=tolerance)


def test_a_middle_pixel_unlike_all_others_does_not_break_it() -> None:
    x = np.zeros((1, 9, 9, 8), np.float32)
    x[:, 4, 4] = 3000.0
    scale = np.ones(8, np.float32)
    bias = np.zeros(8, np.float32)
    y = normalise(x, scale, bias)
    # one pixel of 81
    mean = 3000 / 81
    deviation = 3000 * np.sqrt(80) / 81
    # a variance of 10^5 from sums of 10^7: float32 keeps four digits of it
    np.testing.assert_allclose(y[0, 4, 4], (3000 - mean) / deviation, rtol=1e-3)
    np.testing.assert_allclose(y[0, 0, 0], -mean / deviation, rtol=1e-3)


def normalise(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    net = GroupNorm(GROUPS, EPSILON, jnp.float32)
    params = {"scale": scale, "bias": bias}
    y = net.apply({"params": params}, jnp.asarray(x))
    return np.asarray(y)
