"""`prepare` computes once the values that networks would compute in every frame."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from flax.traverse_util import flatten_dict

from sdvsr_jax import diffusion, prepare
from sdvsr_jax.networks import bind
from sdvsr_jax.ops.subpixel import phase_kernels


@pytest.mark.parametrize("form", tiny_models.TINY)
def test_the_shifts_of_all_timesteps_lie_in_one_array_and_come_out_of_it(
    form: str,
) -> None:
    """Each is the projected embedding plus the bias of the convolution that it is added
    to.
    """
    config = tiny_models.TINY[form]()
    params = tiny_models.random_params(config)
    nets = bind(params, config)
    prepared = prepare(params, config)
    for name in ("unet", "controlnet"):
        net = getattr(nets, name)
        time_shifts = getattr(prepared.time_shifts, name)
        for index, timestep in enumerate(diffusion.timesteps(config.diffusion)):
            embedding = net.time_embedding(jnp.asarray([timestep]))
            blocks = net.conditioned_blocks()
            expected = [block.precompute_shifts(embedding) for block in blocks]
            shifts = net.split_shifts(time_shifts[index])
            # sums of 32 products of values near 1, in another order
            close = functools.partial(np.testing.assert_allclose, atol=1e-5)
            jax.tree.map(close, shifts, expected)
        resnet = net.down_blocks[0].resnets[0]
        leaves = params[name]["down_blocks_0"]["resnets_0"]
        channels = leaves["time_emb_proj"]["kernel"].shape[0]
        # silu of it is 0: nothing but the biases is left
        embedding = jnp.full((1, channels), -1e9)
        (shift,) = resnet.precompute_shift(embedding)
        biases = leaves["time_emb_proj"]["bias"] + leaves["conv1"]["bias"]
        # one rounding of float32
        np.testing.assert_allclose(shift, biases, atol=1e-6)


def test_kernels_behind_an_upsampling_are_collapsed_once() -> None:
    config = tiny_models.tiny_published()
    params = tiny_models.random_params(config)
    leaves = flatten_dict(params)
    prepared_leaves = flatten_dict(prepare(params, config).params)
    paths = [path for path in prepared_leaves if path[-1] == "phases"]
    # one upsampling between two levels
    assert len(paths) == len(config.unet.block_channels) - 1
    for path in paths:
        layer = path[:-1]
        kernel = jnp.asarray(leaves[*layer, "kernel"])
        expected = phase_kernels(kernel)
        # sums of four weights, in another order
        np.testing.assert_allclose(prepared_leaves[path], expected, atol=1e-6)
