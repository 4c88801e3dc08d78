"""RAFT: its updates are a loop, its flow is in pixels of the image."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.flops import count
from sdvsr_jax.models.flow.correlation import make_lookup
from sdvsr_jax.models.flow.raft import RAFT, upsample
from sdvsr_jax.models.flow.raft_encoder import instance_norm

SMALL = RAFTConfig(channels=8, num_updates=3)


def between(net: RAFT, image: jax.Array, previous: jax.Array) -> jax.Array:
    return net(image, net.features(image), net.features(previous))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(1), (2, 2, 64, 72, 3), minval=-1)


@pytest.fixture(scope="module")
def params(images):
    rng = np.random.default_rng(0)

    def random(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim < 2:
            # positive, for the running variances
            return rng.uniform(0.1, 1, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1])
        kernel = rng.standard_normal(leaf.shape) / np.sqrt(fan_in)
        return kernel.astype(np.float32)

    return jax.tree.map(random, shapes(SMALL, images))


def shapes(config: RAFTConfig, images: jax.Array):
    key = jax.random.key(0)
    return jax.eval_shape(lambda: RAFT(config).init(key, *images, method=between))


@functools.partial(jax.jit, static_argnames="method")
def apply(params, image: jax.Array, previous: jax.Array, method=between) -> jax.Array:
    return RAFT(SMALL).apply(params, image, previous, method=method)


@pytest.fixture(scope="module")
def flow(params, images):
    return apply(params, *images)


def test_flow_has_the_image_size_and_moves(flow) -> None:
    assert flow.shape == (2, 64, 72, 2)
    assert flow.dtype == jnp.float32
    assert np.isfinite(flow).all()
    # random weights make flows of some pixels
    assert np.abs(flow).max() > 0.1


def test_rows_of_a_batch_do_not_meet(params, images, flow) -> None:
    negative = -images[:, 1]
    pair = images.at[:, 1].set(negative)
    other = apply(params, *pair)
    np.testing.assert_array_equal(flow[0], other[0])
    # another picture: far more than any rounding
    assert np.abs(flow[1] - other[1]).max() > 1e-3


def test_scan_equals_a_loop_of_updates(params, images, flow) -> None:
    def loop(net: RAFT, image: jax.Array, previous: jax.Array) -> jax.Array:
        lookup = make_lookup(net.features(image), net.features(previous))
        hidden, context = net.context(image)
        flow = jnp.zeros((2, 8, 9, 2))
        for _ in range(SMALL.num_updates):
            hidden, flow = net.update(lookup, hidden, context, flow)
        return upsample(flow, net.mask_predictor(hidden))

    unrolled = apply(params, *images, method=loop)
    # flows of some pixels, through three updates that amplify a rounding
    np.testing.assert_allclose(flow, unrolled, atol=1e-4)


def test_the_context_is_convolved_once(params, images) -> None:
    """In every update: 5 taps of state and motion, 2 * 2c channels, to two gates and a
    candidate, for both GRUs.
    """

    def work(num_updates: int) -> int:
        config = dataclasses.replace(SMALL, num_updates=num_updates)
        net = RAFT(config).bind(params)
        return count(functools.partial(between, net), *images)

    def conv(taps: int, inputs: int, outputs: int) -> int:
        """Products of one pixel."""
        return taps * inputs * outputs

    c = SMALL.channels
    pixels = 2 * 8 * 9
    # 324: windows of 9x9 on four levels
    correlation = conv(1, 324, 4 * c) + conv(9, 4 * c, 3 * c)
    # two of its output channels are zeros
    motion = conv(49, 2, 2 * c) + conv(9, 2 * c, c) + conv(9, 4 * c, 2 * c)
    gru = 2 * conv(5, 4 * c, 3 * 2 * c)
    head = conv(9, 2 * c, 4 * c) + conv(9, 4 * c, 2)
    products = correlation + motion + gru + head
    update = work(2) - work(1)
    # a product and a sum
    assert update == 2 * pixels * products


def test_parameters_do_not_depend_on_updates_or_correlation(params, images) -> None:
    other = dataclasses.replace(SMALL, num_updates=7, correlation="on_demand")
    expected = jax.tree.map(jnp.shape, shapes(other, images))
    ours = jax.tree.map(jnp.shape, params)
    assert ours == expected


# no y of 0: the flow is compared relative to itself
@given(
    x=st.integers(-20, 20),
    y=st.floats(0.125, 20, width=16),
    seed=st.integers(0, 99),
)
@settings(max_examples=10, deadline=None)
def test_constant_flow_stays_constant_away_from_the_border(
    x: int, y: float, seed: int
) -> None:
    """Weights are convex, whatever the mask; outside the image neighbours are zero."""
    motion = jnp.array([x, y], jnp.float32)
    flow = jnp.broadcast_to(motion, (1, 5, 6, 2))
    logits = 3 * jax.random.normal(jax.random.key(seed), (1, 5, 6, 576))
    fine = np.asarray(jax.jit(upsample)(flow, logits))
    expected = np.array([8 * x, 8 * y])
    inner = fine[:, 8:-8, 8:-8]
    # nine weights add up to 1 within a few roundings of float32
    np.testing.assert_allclose(inner, np.broadcast_to(expected, inner.shape), rtol=1e-5)
    largest = np.abs(expected) * (1 + 1e-5)
    assert (np.abs(fine) <= largest).all()


def test_upsampling_places_the_fine_pixels() -> None:
    """With all the weight on the centre, pixel (8i + a, 8j + b) repeats 8 times coarse
    pixel (i, j).
    """
    flow = jax.random.normal(jax.random.key(0), (1, 3, 4, 2))
    weightless = jnp.full((1, 3, 4, 9, 64), -1e9)
    centre_only = weightless.at[:, :, :, 4].set(0.0)
    fine = upsample(flow, centre_only.reshape(1, 3, 4, 576))
    rows = np.repeat(flow, 8, 1)
    expected = 8 * np.repeat(rows, 8, 2)
    # one rounding of the softmax
    np.testing.assert_allclose(fine, expected, rtol=1e-6)


def test_instance_norm_has_unit_statistics_and_keeps_eps() -> None:
    noise = jax.random.normal(jax.random.key(0), (2, 8, 9, 4))
    y = np.asarray(instance_norm(3 + 5 * noise))
    # float32 sums of 72 values near 5
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((1, 2)), 1, rtol=1e-4)
    faint = np.asarray(instance_norm(1e-3 * noise))
    # eps is 1e-5, ten times this variance
    expected = 1e-6 / (1e-6 + 1e-5)
    # 72 random values have their variance within a fifth
    assert faint.var() == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("size", [(60, 64), (64, 68), (56, 128)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    height, width = size
    words = rf"{width}x{height} image, expected .* multiples of 8 .* at least 64"
    image = jnp.zeros((1, height, width, 3))
    with pytest.raises(ValueError, match=words):
        RAFT(SMALL).init(jax.random.key(0), image, method="features")
