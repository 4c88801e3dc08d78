"""The networks of a model: built from its config, bound to parameters, initialised."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax.config import ModelConfig, RAFTConfig
from sdvsr_jax.models.flow.flownet import FlowNet
from sdvsr_jax.models.flow.protocol import FlowEstimator
from sdvsr_jax.models.flow.raft import RAFT
from sdvsr_jax.models.guidance import ControlNet
from sdvsr_jax.models.restorer import FOLD, Restorer
from sdvsr_jax.models.unet import UNet
from sdvsr_jax.models.vae import SequenceBlock, TemporalAutoencoder
from sdvsr_jax.types import Array, Key, Params, PyTree

PROMPT_TOKENS = 77


class Networks(NamedTuple):
    """The modules; the parameter tree has the same names."""

    unet: UNet
    controlnet: ControlNet
    vae: TemporalAutoencoder
    flow: FlowEstimator
    restorer: Restorer | None
    """Only where the config has one."""


def build(config: ModelConfig) -> Networks:
    """Returns unbound modules.

    The flow network has a precision of its own: ``compute_dtype`` does not touch it.
    """
    dtype = jnp.dtype(config.compute_dtype)
    flow = config.flow
    restorer = config.restorer
    return Networks(
        unet=UNet(config.unet, dtype),
        controlnet=ControlNet(config.unet, dtype, config.guidance),
        vae=TemporalAutoencoder(config.vae, dtype),
        flow=RAFT(flow) if isinstance(flow, RAFTConfig) else FlowNet(flow),
        restorer=Restorer(restorer, dtype) if restorer else None,
    )


def bind(params: Params, config: ModelConfig) -> Networks:
    """Returns modules with their parameters, to be called inside a pure function.

    ``params`` are raw, or those of a `Prepared`.
    """
    modules = build(config)._asdict()
    for name, module in modules.items():
        if module is not None:
            modules[name] = module.bind({"params": params[name]})
    return Networks(**modules)


def uses_text(config: ModelConfig) -> bool:
    """Whether any transformer attends to the prompt."""
    kinds = config.unet.attention
    return any(kind != "none" for kind in kinds)


def init_params(key: Key[Array, ""], config: ModelConfig) -> Params:
    """Returns random float32 parameters.

    Every part that corrects a plainer result (residual decoder, guidance, TPM, flow)
    starts at zero, so a fresh residual model returns the back-projected bicubic frame.
    """
    # any size would do: parameters do not depend on it
    side = max(config.min_size, 8 * config.size_multiple)
    side_sr = side * config.scale
    num_latents = config.unet.latent_channels
    lr = _blank(side, 3)
    up = _blank(side_sr, 3)
    latents = _blank(side, num_latents)
    text = _empty_prompt(config)
    # a network's number in this order picks its key: another order, other weights
    inputs: dict[str, tuple[Any, tuple]] = {
        "unet": (_touch_unet, (latents, lr, text)),
        "controlnet": (_touch_controlnet, (latents, lr, up, text)),
        "vae": (_touch_vae, (up, lr)),
        "flow": (_touch_flow, (lr, up)),
    }
    if config.restorer:
        inputs["restorer"] = (_touch_restorer, (lr,))
    modules: dict[str, Any] = build(config)._asdict()
    num_networks = len(inputs)
    keys = jax.random.split(key, num_networks)
    params = {}
    for name, network_key in zip(inputs, keys):
        touch, arguments = inputs[name]
        module = modules[name]
        variables = module.init(network_key, *arguments, method=touch)
        params[name] = variables["params"]
    # zeros until a checkpoint brings them: no text encoder is trained here
    if uses_text(config):
        params["prompt_embeds"] = text
    return params


def _blank(side: int, channels: int) -> Array:
    """A square image of zeros, batch 1."""
    return jnp.zeros((1, side, side, channels))


def _empty_prompt(config: ModelConfig) -> Array:
    channels = config.unet.text_channels
    return jnp.zeros((1, PROMPT_TOKENS, channels))


def init_restorer(key: Key[Array, ""], config: ModelConfig) -> Params:
    """Returns random parameters of the restorer alone, for a model that had none."""
    net = build(config).restorer
    assert net is not None
    lr = _blank(config.min_size, 3)
    variables: Any = net.init(key, lr, method=_touch_restorer)
    return variables["params"]


@functools.cache
def abstract_params(config: ModelConfig) -> Params:
    """Returns names, shapes and dtypes of the parameters, without the memory."""
    init = functools.partial(init_params, config=config)
    return jax.eval_shape(init, jax.random.key(0))


# flax makes the parameters of those methods only that it sees called: each function
# below calls all of its network's.
def _touch_unet(net: UNet, latents: Array, lr: Array, text: Array) -> Array:
    timestep = jnp.zeros(1, jnp.int32)
    shifts = net.precompute_shifts(timestep)
    prompt = net.precompute_prompt(text)
    return net(latents, lr, shifts, prompt)


def _touch_controlnet(
    net: ControlNet, latents: Array, lr: Array, image: Array, text: Array
) -> PyTree:
    validity = image[..., :1]
    condition = net.embed_condition(image, validity)
    timestep = jnp.zeros(1, jnp.int32)
    shifts = net.precompute_shifts(timestep)
    prompt = net.precompute_prompt(text)
    return net(latents, lr, condition, shifts, prompt)


def _touch_vae(net: TemporalAutoencoder, image: Array, lr: Array) -> Array:
    validity = lr[..., :1]
    latents = net.encode(image, image, lr)
    features = net.features(image, image, lr)
    in_order = reversed(features)
    layers = net.encoder.layers
    blocks = [layer for layer in layers if isinstance(layer, SequenceBlock)]
    for block, x in zip(blocks, in_order):
        # never used, but the published checkpoint carries TPM parameters in the
        # encoder's blocks too
        block(x, x, validity)
    return net.decode(latents, image, lr, features, validity)


def _touch_flow(net: FlowEstimator, lr: Array, up: Array) -> Array:
    image = net.choose_frame(lr, up)
    features = net.features(image)
    return net(image, features, features)


def _touch_restorer(net: Restorer, lr: Array) -> PyTree:
    _, height, width, _ = lr.shape
    channels = net.config.memory_channels
    memory_shape = (1, height // FOLD, width // FOLD, channels)
    memory = jnp.zeros(memory_shape)
    validity = lr[..., :1]
    return net(lr, lr, memory, validity)
