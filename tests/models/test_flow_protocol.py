"""Both flow networks keep the protocol that the step is written for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import ModelConfig
from sdvsr_jax.history import flow_at_both_sizes
from sdvsr_jax.models.flow.protocol import FlowEstimator
from sdvsr_jax.networks import bind, build
from tests.tiny_models import random_params, tiny_nano, tiny_published

FORMS = {"flownet": tiny_nano, "raft": tiny_published}


@pytest.mark.parametrize("kind", FORMS)
def test_a_network_has_the_three_methods(kind: str) -> None:
    nets = build(FORMS[kind]())
    assert isinstance(nets.flow, FlowEstimator)


@pytest.mark.parametrize("kind", FORMS)
def test_the_flow_has_the_size_of_the_frame_that_is_compared(kind: str) -> None:
    config = FORMS[kind]()
    params = random_params(config)
    shape = jax.eval_shape(lambda tree: flow(tree, config), params)
    # RAFT compares the enlarged frames, our network those of the input
    side = 64 if kind == "raft" else 16
    assert shape.shape == (1, side, side, 2)


def flow(params: dict, config: ModelConfig) -> jax.Array:
    net = bind(params, config).flow
    lr = jnp.zeros((1, 16, 16, 3))
    up = jnp.zeros((1, 64, 64, 3))
    image = net.choose_frame(lr, up)
    features = net.features(image)
    return net(image, features, features)


def test_a_flow_is_the_same_motion_at_both_sizes() -> None:
    """3 LR pixels to the right and 1 up are 12 and 4 SR pixels."""
    lr = jnp.zeros((1, 4, 5, 3))
    up = jnp.zeros((1, 16, 20, 3))
    motion = jnp.asarray([3.0, -1.0])
    small = jnp.broadcast_to(motion, (1, 4, 5, 2))
    large = jnp.broadcast_to(4 * motion, (1, 16, 20, 2))
    for flow in (small, large):
        flow_lr, flow_sr = flow_at_both_sizes(flow, lr, up)
        # weights of the bilinear kernel add up to 1 within a rounding
        np.testing.assert_allclose(flow_lr, small, rtol=1e-6)
        np.testing.assert_allclose(flow_sr, large, rtol=1e-6)
