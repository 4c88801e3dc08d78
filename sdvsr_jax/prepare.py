"""Parameters as `stream.step` reads them: constants of all frames computed once."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from sdvsr_jax import diffusion
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import Networks, bind, uses_text
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.subpixel import phase_kernels
from sdvsr_jax.types import Params, PerNetwork, Prepared

# Kernels behind an upsampling: every timestep reads them, so they are collapsed once
# (`subpixel.phase_kernels`).
UPSAMPLING = re.compile(r"/upsamplers_\d+/conv/kernel$")


def prepare(params: Params, config: ModelConfig) -> Prepared:
    """Returns the parameters that `stream.step` takes, by one compiled program.

    Computed once: time embeddings (with the biases that they are added to), the
    prompt's keys and values, kernels behind an upsampling. Networks in a 16-bit
    ``compute_dtype`` get their weights cast, so that they are read once in that size,
    and for an NVIDIA GPU the axes of kernels are put in the order that its library
    reads. Differentiable, so training calls it inside its loss.
    """
    if isinstance(params, Prepared):
        raise ValueError(
            "prepare got parameters that are prepared already, expected raw ones from "
            "load or init_params: pass these to step as they are"
        )
    return _prepare(params, config, device_kind()[0] == "cuda")


@functools.partial(jax.jit, static_argnums=(1, 2))
def _prepare(params: Params, config: ModelConfig, output_first: bool) -> Prepared:
    params = jax.tree.map(jnp.asarray, params)
    nets = bind(params, config)
    dtype = jnp.dtype(config.compute_dtype)
    cast = {}
    for name in ("unet", "controlnet", "vae"):
        cast[name] = _cast(params[name], dtype)
    # it has a precision of its own
    cast["flow"] = params["flow"]
    if config.restorer:
        cast["restorer"] = _cast(params["restorer"], dtype)
    if output_first:
        cast = _output_channel_first(cast)
    # without transformers nothing looks at the text
    text = params["prompt_embeds"] if uses_text(config) else jnp.zeros((1, 1, 1))
    prompt = PerNetwork(
        unet=nets.unet.precompute_prompt(text),
        controlnet=nets.controlnet.precompute_prompt(text),
    )
    time_shifts = _time_shifts(nets, config)
    return Prepared(cast, time_shifts, prompt)


def _time_shifts(nets: Networks, config: ModelConfig) -> PerNetwork:
    timesteps = jnp.asarray(diffusion.timesteps(config.diffusion))
    of_unet = nets.unet.precompute_shifts(timesteps)
    of_unet = of_unet[:, None]
    of_controlnet = nets.controlnet.precompute_shifts(timesteps)
    of_controlnet = of_controlnet[:, None]
    # the new axis is the batch that one timestep's shifts are broadcast over
    return PerNetwork(of_unet, of_controlnet)


def _cast(params: Params, dtype: jnp.dtype) -> Params:
    """Weights in the precision of activations, kernels behind an upsampling collapsed
    beside the plain ones.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    cast = {}
    for path, leaf in flat.items():
        *modules, _ = path
        cast[path] = leaf.astype(dtype)
        name = "/".join(path)
        if UPSAMPLING.search(name):
            # from the float32 weights, so that they are rounded once
            phases = phase_kernels(leaf)
            cast[*modules, "phases"] = phases.astype(dtype)
    return unflatten_dict(cast)


def _output_channel_first(params: Params) -> Params:
    """Kernels of convolutions as cuDNN reads them; of HWIO, XLA would make a copy of
    all of them in every frame.
    """
    flat: dict[tuple[str, ...], Any] = flatten_dict(params)
    reordered = {}
    for path, leaf in flat.items():
        *modules, name = path
        is_kernel = name in ("kernel", "phases") and leaf.ndim == 4
        if is_kernel:
            # another name: the layers read the order of axes from it
            reordered[*modules, f"{name}_ohwi"] = leaf.transpose(3, 0, 1, 2)
        else:
            reordered[path] = leaf
    return unflatten_dict(reordered)
