"""Guidance: nothing until it is trained, and the mask only where the model has one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import ModelConfig, init_params
from sdvsr_jax.networks import bind
from tests.tiny_models import random_params, tiny_nano


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return tiny_nano()


@functools.partial(jax.jit, static_argnames="config")
def residuals(params: dict, config: ModelConfig) -> list[jax.Array]:
    """Of one timestep on a random frame; compiled, because eager layers compile one by
    one.
    """
    net = bind(params, config).controlnet
    keys = jax.random.split(jax.random.key(0), 3)
    latents = jax.random.normal(keys[0], (1, 8, 8, 4))
    lr = jax.random.uniform(keys[1], (1, 8, 8, 3), minval=-1)
    image = jax.random.uniform(keys[2], (1, 32, 32, 3), minval=-1)
    condition = net.embed_condition(image, image[..., :1])
    shifts = net.precompute_shifts(jnp.asarray([500]))
    prompt = net.precompute_prompt(jnp.zeros((1, 1, 1)))
    skips, middle = net(latents, lr, condition, shifts, prompt)
    return [*skips, middle]


def test_a_fresh_branch_adds_nothing_to_the_u_net(config: ModelConfig) -> None:
    init = jax.jit(init_params, static_argnums=1)
    fresh = init(jax.random.key(0), config)
    for residual in residuals(fresh, config):
        assert not np.asarray(residual).any()


def test_there_is_a_residual_for_every_skip_and_for_the_middle(
    config: ModelConfig,
) -> None:
    all_residuals = residuals(random_params(config), config)
    shapes = [residual.shape[1:] for residual in all_residuals]
    # conv_in, a ResNet and the downsampler of level 0, a ResNet of level 1, the middle
    expected = [(4, 4, 8), (4, 4, 8), (2, 2, 8), (2, 2, 16), (2, 2, 16)]
    assert shapes == expected
    for residual in all_residuals:
        assert np.asarray(residual).any()


@pytest.mark.parametrize("mask_channel", [True, False])
def test_validity_is_seen_only_where_the_model_has_its_channel(
    mask_channel: bool,
) -> None:
    config = tiny_nano()
    guidance = dataclasses.replace(config.guidance, mask_channel=mask_channel)
    config = dataclasses.replace(config, guidance=guidance)
    params = random_params(config)
    image = jnp.zeros((1, 32, 32, 3))

    @jax.jit
    def embed(validity: jax.Array) -> jax.Array:
        net = bind(params, config).controlnet
        return net.embed_condition(image, validity)

    with_trust = embed(jnp.ones((1, 32, 32, 1)))
    without = embed(jnp.zeros((1, 32, 32, 1)))
    differs = bool((with_trust != without).any())
    assert differs == mask_channel
