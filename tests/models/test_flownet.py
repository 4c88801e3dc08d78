"""The flow that the stream warps along, on pictures whose motion is known."""

import dataclasses

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
    noise = np.random.default_rng(seed).standard_normal(
        (SIZE + 2 * BORDER, SIZE + 2 * BORDER, 3)
    )
    big = gaussian_filter(noise, (3, 3, 0))
    big = jnp.asarray(big / np.abs(big).max(), jnp.float32)[None]
    current = big[:, BORDER + dy : BORDER + dy + SIZE, BORDER + dx : BORDER + dx + SIZE]
    previous = big[:, BORDER : BORDER + SIZE, BORDER : BORDER + SIZE]
    return downsample_bicubic(current, SCALE), downsample_bicubic(previous, SCALE)


@pytest.fixture(scope="module")
def found():
    """Median flow of the shipped network in HR pixels, refined and not."""
    config, params = checkpoint.load("nano")

    @jax.jit
    def flows(current, previous):
        return [
            SCALE
            * jnp.median(
                net(current, net.features(current), net.features(previous))[
                    0, 8:-8, 8:-8
                ],
                (0, 1),
            )
            for net in (
                FlowNet(dataclasses.replace(config.flow, refinements=n)).bind(
                    {"params": params["flow"]}
                )
                for n in (config.flow.refinements, 0)
            )
        ]

    return lambda *shift: [np.asarray(flow) for flow in flows(*shifted_lr(*shift))]


@given(st.integers(0, 99), st.integers(-6, 6), st.integers(-6, 6))
@settings(max_examples=15, deadline=None)
def test_the_shipped_flow_is_right_to_a_fraction_of_an_sr_pixel(found, seed, dx, dy):
    refined, _ = found(seed, dx, dy)
    # the worst of 240 shifts was off by 0.16
    np.testing.assert_allclose(refined, [dx, dy], atol=0.35)


def test_refinement_is_what_makes_it_so(found):
    shifts = [
        (seed, dx, dy)
        for seed, (dx, dy) in enumerate([(1, 0), (3, -2), (-5, 4), (2, 6)])
    ]
    errors = np.array(
        [[np.linalg.norm(f - shift[1:]) for f in found(*shift)] for shift in shifts]
    )
    assert errors[:, 0].mean() < 0.5 * errors[:, 1].mean()


def test_a_start_that_is_right_stays_and_a_flat_frame_moves_nothing():
    current, previous = (x.mean(-1, keepdims=True) for x in shifted_lr(7, 4, -8))
    start = jnp.broadcast_to(jnp.asarray([1.0, -2.0]), (*current.shape[:3], 2))
    inner = refine_flow(current, previous, start, sigma=2.0, num_iterations=2)[
        :, 8:-8, 8:-8
    ]
    np.testing.assert_allclose(inner, start[:, 8:-8, 8:-8], atol=0.02)
    flat = jnp.zeros_like(current)
    np.testing.assert_allclose(
        refine_flow(flat, flat, start, sigma=2.0, num_iterations=2), start, atol=1e-6
    )


@pytest.mark.parametrize(
    ("height", "width", "sigma"),
    [(1, 1, 0.5), (3, 40, 2.0), (17, 2, 4.0), (40, 33, 1.0)],
)
def test_blur_keeps_what_is_constant_at_any_size(height, width, sigma):
    ones = jnp.ones((1, height, width, 2))
    np.testing.assert_allclose(
        jax.jit(gaussian_blur, static_argnums=1)(ones, sigma), ones, rtol=1e-6
    )


def test_blur_is_that_of_scipy_inside():
    x = np.random.default_rng(0).standard_normal((1, 30, 34, 2)).astype(np.float32)
    sigma = 2.0
    expected = gaussian_filter(
        x, (0, sigma, sigma, 0), radius=len(gaussian_taps(sigma)) // 2
    )
    inner = (slice(None), slice(5, -5), slice(5, -5))
    np.testing.assert_allclose(
        gaussian_blur(jnp.asarray(x), sigma)[inner], expected[inner], atol=1e-5
    )
