"""The flow that the stream warps along, on pictures whose motion is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sdvsr_jax.models.flow.flownet import FlowNet
from sdvsr_jax.ops.lucas_kanade import gaussian_blur, gaussian_taps, refine_flow
from sdvsr_jax.ops.resize import downsample_bicubic
from sdvsr_jax.weights import load as checkpoint

SIZE, BORDER, SCALE = 192, 32, 4


def shifted_lr(seed: int, dx: int, dy: int) -> tuple[jax.Array, jax.Array]:
    """LR frames of a texture that moves by (dx, dy) HR pixels: current(p) = previous(p
    + (dx, dy) / SCALE).
    """
    rng = np.random.default_rng(seed)
    side = SIZE + 2 * BORDER
    noise = rng.standard_normal((side, side, 3))
    # three HR pixels: what is finer would be lost in the reduction
    smooth = gaussian_filter(noise, (3, 3, 0))
    unit = smooth / np.abs(smooth).max()
    big = jnp.asarray(unit[None], jnp.float32)

    def reduced(top: int, left: int) -> jax.Array:
        hr = big[:, top : top + SIZE, left : left + SIZE]
        return downsample_bicubic(hr, SCALE)

    return reduced(BORDER + dy, BORDER + dx), reduced(BORDER, BORDER)


@pytest.fixture(scope="module")
def median_flows():
    """Median flow of the shipped network in HR pixels, refined and not."""
    config, params = checkpoint.load("nano")

    def median(current, previous, refinements: int) -> jax.Array:
        settings = dataclasses.replace(config.flow, refinements=refinements)
        net = FlowNet(settings).bind({"params": params["flow"]})
        flow = net(current, net.features(current), net.features(previous))
        # the border sees what comes into the picture
        inner = flow[0, 8:-8, 8:-8]
        return SCALE * jnp.median(inner, (0, 1))

    @jax.jit
    def flows(current, previous):
        refined = median(current, previous, config.flow.refinements)
        plain = median(current, previous, 0)
        return refined, plain

    def of_shift(seed: int, dx: int, dy: int) -> list[np.ndarray]:
        return [np.asarray(flow) for flow in flows(*shifted_lr(seed, dx, dy))]

    return of_shift


@given(st.integers(0, 99), st.integers(-6, 6), st.integers(-6, 6))
@settings(max_examples=15, deadline=None)
def test_the_shipped_flow_is_right_to_a_fraction_of_an_sr_pixel(
    median_flows, seed, dx, dy
):
    refined, _ = median_flows(seed, dx, dy)
    # the worst of 240 shifts was off by 0.16
    np.testing.assert_allclose(refined, [dx, dy], atol=0.35)


def test_refinement_is_what_makes_it_so(median_flows):
    shifts = [(1, 0), (3, -2), (-5, 4), (2, 6)]
    errors = []
    for seed, shift in enumerate(shifts):
        flows = median_flows(seed, *shift)
        errors.append([np.linalg.norm(flow - shift) for flow in flows])
    refined, plain = np.mean(errors, axis=0)
    # less than half of the error is left
    assert refined < 0.5 * plain


def test_a_start_that_is_right_stays_and_a_flat_frame_moves_nothing():
    frames = shifted_lr(7, 4, -8)
    current, previous = (frame.mean(-1, keepdims=True) for frame in frames)
    motion = jnp.asarray([4.0, -8.0]) / SCALE
    start = jnp.broadcast_to(motion, (*current.shape[:3], 2))
    refine = functools.partial(refine_flow, sigma=2.0, num_iterations=2)
    flow = refine(current, previous, start)
    # what comes in at the border reaches a dozen pixels inwards: 0.012 at the eighth
    np.testing.assert_allclose(flow[:, 8:-8, 8:-8], start[:, 8:-8, 8:-8], atol=0.02)
    flat = jnp.zeros_like(current)
    # without texture the step is zero; the start is smoothed once, within a rounding
    np.testing.assert_allclose(refine(flat, flat, start), start, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "sigma"),
    [(1, 1, 0.5), (3, 40, 2.0), (17, 2, 4.0), (40, 33, 1.0)],
)
def test_blur_keeps_what_is_constant_at_any_size(height, width, sigma):
    ones = jnp.ones((1, height, width, 2))
    # compiled whole: every size has programs of its own
    blur = jax.jit(gaussian_blur, static_argnums=1)
    # weights are divided by their sum: a rounding or two of float32
    np.testing.assert_allclose(blur(ones, sigma), ones, rtol=1e-6)


def test_blur_is_that_of_scipy_inside():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 30, 34, 2)).astype(np.float32)
    sigma = 2.0
    radius = len(gaussian_taps(sigma)) // 2
    expected = gaussian_filter(x, (0, sigma, sigma, 0), radius=radius)
    blurred = gaussian_blur(jnp.asarray(x), sigma)
    # beyond the border scipy mirrors, and ours weighs what is there
    inner = (slice(None), slice(radius, -radius), slice(radius, -radius))
    # float32 sums of a few dozen products
    np.testing.assert_allclose(blurred[inner], expected[inner], atol=1e-5)
