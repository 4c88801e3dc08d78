"""The count of a frame's arithmetic, and the limits of the models."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
import tiny_models

from sdvsr_jax import init_state, nano, step, stream_diffvsr
from sdvsr_jax.config import RAFTConfig
from sdvsr_jax.flops import count, frame_flops


def test_a_product_and_a_convolution_are_counted_exactly() -> None:
    matrix = jnp.zeros((3, 5))
    right = jnp.zeros((5, 7))
    assert count(jnp.matmul, matrix, right) == 2 * 3 * 5 * 7
    image = jnp.zeros((1, 8, 6, 3))
    kernel = jnp.zeros((3, 3, 3, 4))

    def conv(x: jax.Array) -> jax.Array:
        layouts = ("NHWC", "HWIO", "NHWC")
        padding = [(1, 1), (1, 1)]
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), padding, dimension_numbers=layouts
        )

    positions = 4 * 3
    taps = 3 * 3 * 3
    assert count(conv, image) == 2 * positions * taps * 4


def test_a_loop_counts_as_often_as_it_turns() -> None:
    weights = jnp.zeros((5, 7))

    def body(carry: jax.Array, _: None) -> tuple[jax.Array, None]:
        product = jax.jit(lambda x: x @ weights @ weights.T)
        return product(carry), None

    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.scan(body, x, None, length=4)[0]

    product = 2 * 3 * 5 * 7
    assert count(looped, jnp.zeros((3, 5))) == 4 * 2 * product


def test_xla_counts_about_the_same_in_a_frame() -> None:
    config, params = tiny_models.tiny("nano")
    flat = dataclasses.replace(config, unroll=True)
    state = jax.eval_shape(lambda: init_state(flat, 1, 16, 20))
    frame = jax.ShapeDtypeStruct((1, 16, 20, 3), "float32")
    run = jax.jit(functools.partial(step, config=flat))
    program = run.lower(params, state, frame)
    costs = program.cost_analysis() or {}
    ours = frame_flops(config, 20, 16)
    # XLA counts element-wise work too, and pads less.
    assert ours == pytest.approx(costs["flops"], rel=0.25)


def test_nano_stays_small() -> None:
    # 85.1 GFLOP today; a frame of more takes over a second on two cores.
    assert frame_flops(nano(), 320, 180) <= 90e9


@pytest.mark.heavy
def test_the_full_model_costs_what_the_published_one_does_less_what_is_done_once() -> (
    None
):
    published = 24.677e12
    # by hand from the shapes of layers that run once a stream, or not at all
    condition = 0.825e12
    mask_head = 0.140e12
    previous_features = 0.125e12
    prompt = 0.030e12
    unused_encoder_layer = 0.001e12
    sub_pixel_convolutions = 0.953e12
    gru_context = 0.156e12
    savings = (
        condition
        + mask_head
        + previous_features
        + prompt
        + unused_encoder_layer
        + sub_pixel_convolutions
        + gru_context
    )
    flow = RAFTConfig(correlation="volume")
    config = dataclasses.replace(stream_diffvsr(), flow=flow)
    expected = published - savings
    # The published figure was counted by hooks that leave attention's products out.
    assert frame_flops(config, 320, 180) == pytest.approx(expected, rel=0.006)
