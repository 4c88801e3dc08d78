"""`prepare` computes once the values that networks would compute in every frame."""

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
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                net.split_shifts(time_shifts[index]),
                expected,
            )
        resnet = net.down_blocks[0].resnets[0]
        zero = jnp.full(
            (1, resnet.time_emb_proj.variables["params"]["kernel"].shape[0]), -1e9
        )  # silu: 0
        biases = params[name]["down_blocks_0"]["resnets_0"]
        np.testing.assert_allclose(
            resnet.precompute_shift(zero)[0],
            biases["time_emb_proj"]["bias"] + biases["conv1"]["bias"],
            atol=1e-6,
        )


def test_kernels_behind_an_upsampling_are_collapsed_once() -> None:
    config = tiny_models.tiny_published()
    params = tiny_models.random_params(config)
    prepared = flatten_dict(prepare(params, config).params)
    collapsed = {
        path: kernel for path, kernel in prepared.items() if path[-1] == "phases"
    }
    assert len(collapsed) == len(config.unet.block_channels) - 1
    for path, phases in collapsed.items():
        kernel = flatten_dict(params)[*path[:-1], "kernel"]
        np.testing.assert_allclose(
            phases, phase_kernels(jnp.asarray(kernel)), atol=1e-6
        )
