"""The networks of a model: built from its config, bound to its parameters, initialised,
prepared.
"""

import functools
import itertools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax import diffusion
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.models.flow.flownet import FlowNet
from sdvsr_jax.models.flow.raft import RAFT
from sdvsr_jax.models.guidance import ControlNet
from sdvsr_jax.models.restorer import FOLD, Restorer
from sdvsr_jax.models.unet import UNet
from sdvsr_jax.models.vae import SequenceBlock, TemporalAutoencoder
from sdvsr_jax.ops import quantized
from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.subpixel import phase_kernels
from sdvsr_jax.types import Array, Params, PyTree
from sdvsr_jax.weights.torch_names import flatten, unflatten

PROMPT_TOKENS = 77
UPSAMPLING = re.compile(r"/upsamplers_\d+/conv/kernel$")
"""Kernels that every timestep reads collapsed to `subpixel.phase_kernels`."""


class Networks(NamedTuple):
    """The modules; the parameter tree has the same names."""

    unet: UNet
    controlnet: ControlNet
    vae: TemporalAutoencoder
    flow: Any
    """RAFT on SR-sized frames or FlowNet on LR frames: ``features(image)``, ``(image,
    features, previous)``.
    """
    restorer: Restorer | None
    """Only where the config has one."""


def build(config: ModelConfig) -> Networks:
    """Unbound modules. Flow has its own precision: `compute_dtype` does not touch it."""
    dtype = jnp.dtype(config.compute_dtype)
    flow = (
        FlowNet(config.flow)
        if isinstance(config.flow, FlowNetConfig)
        else RAFT(config.flow, jnp.dtype(config.flow.dtype))
    )
    return Networks(
        UNet(config.unet, dtype),
        ControlNet(config.unet, dtype, config.guidance),
        TemporalAutoencoder(config.vae, dtype),
        flow,
        Restorer(config.restorer, dtype) if config.restorer else None,
    )


def bind(params: Params, config: ModelConfig) -> Networks:
    """Modules with their parameters, to be called inside a pure function."""
    modules = build(config)._asdict()
    bound = {
        name: module and module.bind({"params": params[name]})
        for name, module in modules.items()
    }
    return Networks(**bound)


def uses_text(config: ModelConfig) -> bool:
    """Whether any transformer attends to the prompt."""
    return any(kind != "none" for kind in config.unet.attention)


def init_params(key: Array, config: ModelConfig) -> Params:
    """Random float32 parameters.

    Every part that corrects a plainer result (residual decoder, guidance, TPM, flow)
    starts at zero, so a fresh residual model returns the back-projected bicubic frame.
    """
    nets = build(config)
    size = max(config.min_size, 8 * config.size_multiple)
    lr = jnp.zeros((1, size, size, 3))
    up = jnp.zeros((1, size * config.scale, size * config.scale, 3))
    latents = jnp.zeros((1, size, size, config.unet.latent_channels))
    text = jnp.zeros((1, PROMPT_TOKENS, config.unet.text_channels))
    inputs: dict[str, tuple[Any, tuple]] = {
        "unet": (_touch_unet, (latents, lr, text)),
        "controlnet": (_touch_controlnet, (latents, lr, up, text)),
        "vae": (_touch_vae, (up, lr)),
        "flow": (_touch_flow, (lr if isinstance(config.flow, FlowNetConfig) else up,)),
    }
    if config.restorer:
        memory = jnp.zeros(
            (1, size // FOLD, size // FOLD, config.restorer.memory_channels)
        )
        inputs["restorer"] = (_touch_restorer, (lr, memory))
    keys = dict(zip(inputs, jax.random.split(key, len(inputs))))
    params = {
        name: getattr(nets, name).init(keys[name], *args, method=touch)["params"]
        for name, (touch, args) in inputs.items()
    }
    return params | ({"prompt_embeds": text} if uses_text(config) else {})


def init_restorer(key: Array, config: ModelConfig) -> Params:
    """Random parameters of the restorer alone, for a model that had none."""
    net = build(config).restorer
    assert net is not None
    side = config.min_size
    lr = jnp.zeros((1, side, side, 3))
    memory = jnp.zeros((1, side // FOLD, side // FOLD, net.config.memory_channels))
    variables = net.init(key, lr, memory, method=_touch_restorer)
    return variables["params"]


@functools.cache
def abstract_params(config: ModelConfig) -> Params:
    """Names, shapes and dtypes of the parameters, without the memory."""
    return jax.eval_shape(lambda key: init_params(key, config), jax.random.key(0))


def prepare(params: Params, config: ModelConfig) -> Params:
    """Fold what is the same for every frame, once: time embeddings (with the biases
    that they are added to), the prompt's keys and values, kernels behind an upsampling.

    Networks in a 16-bit ``compute_dtype`` get their weights cast here as well, so that
    they are read once in that size (``quantized`` ones in 8 bits), and for an NVIDIA
    GPU the axes of kernels are put in the order that its library reads. The result is
    what `stream.step` takes; differentiable, so training calls it inside its loss.
    """
    params = jax.tree.map(jnp.asarray, params)
    nets = bind(params, config)
    steps = jnp.asarray(diffusion.timesteps(config.diffusion))
    # Without transformers nothing looks at the text.
    text = params["prompt_embeds"] if uses_text(config) else jnp.zeros((1, 1, 1))
    folded = {
        name: _fold(getattr(nets, name), steps, text) for name in ("unet", "controlnet")
    }
    dtype = jnp.dtype(config.compute_dtype)
    cast = {
        name: _cast(params[name], dtype, config.quantized)
        for name in ("unet", "controlnet", "vae")
    }
    cast["flow"] = params["flow"]
    if config.restorer:
        cast["restorer"] = _cast(params["restorer"], dtype, "none")
    if device_kind()[0] == "cuda":
        cast = _output_channel_first(cast)
    return {**cast, "folded": folded}


def _cast(params: Params, dtype: jnp.dtype, kind: str) -> Params:
    """Weights as the layers read them: in the precision of activations, or in 8 bits
    with a scale beside them.
    """
    cast = {}
    for path, leaf in flatten(params).items():
        if quantized.is_quantized(path, leaf.ndim, kind):
            kernel, scale = quantized.quantize(
                leaf, tuple(range(leaf.ndim - 1)), quantized.DTYPES[kind]
            )
            cast |= {path: kernel, (*path[:-1], "kernel_scale"): scale.reshape(-1)}
        else:
            cast[path] = leaf.astype(dtype)
        if UPSAMPLING.search("/".join(path)):
            cast[*path[:-1], "phases"] = phase_kernels(leaf).astype(dtype)
    return unflatten(cast)


def _output_channel_first(params: Params) -> Params:
    """Kernels of convolutions as cuDNN reads them; of HWIO, XLA would make a copy of
    all of them in every frame.
    """
    flat = flatten(params)
    kernels = [
        path
        for path, leaf in flat.items()
        if path[-1] in ("kernel", "phases") and leaf.ndim == 4
    ]
    turned = {
        (*path[:-1], f"{path[-1]}_ohwi"): flat.pop(path).transpose(3, 0, 1, 2)
        for path in kernels
    }
    return unflatten(flat | turned)


def _fold(net: UNet | ControlNet, steps: Array, text: Array) -> PyTree:
    # The extra axis is the batch that one timestep's shift is broadcast over. All
    # shifts in one array: a GPU takes
    # a timestep's out of it with one kernel a size, and with one kernel each out of an
    # array of each.
    time = jnp.concatenate(jax.tree.leaves(net.fold_time(steps)), -1)[:, None]
    return {"time": time, "text": net.fold_text(text)}


def shifts_of(net: UNet | ControlNet, time: Array) -> PyTree:
    """What the network takes for one timestep, [1, all channels], out of
    ``folded[...]["time"]``.
    """
    shapes, tree = jax.tree.flatten(jax.eval_shape(net.fold_time, jnp.zeros(1)))
    ends = list(itertools.accumulate(s.shape[-1] for s in shapes))
    return jax.tree.unflatten(tree, jnp.split(time, ends[:-1], -1))


def _touch_unet(net: UNet, latents: Array, lr: Array, text: Array) -> Array:
    return net(latents, lr, net.fold_time(jnp.zeros(1)), net.fold_text(text))


def _touch_controlnet(
    net: ControlNet, latents: Array, lr: Array, image: Array, text: Array
) -> PyTree:
    condition = net.embed_condition(image, image[..., :1])
    return net(latents, lr, condition, net.fold_time(jnp.zeros(1)), net.fold_text(text))


def _touch_vae(net: TemporalAutoencoder, image: Array, lr: Array) -> Array:
    latents, features = net.encode(image, image, lr), net.features(image, image, lr)
    for layer, x in zip(
        [m for m in net.encoder.layers if isinstance(m, SequenceBlock)], features[::-1]
    ):
        # Never used, but the published checkpoint carries TPM parameters in the
        # encoder's blocks too.
        layer(x, x, lr[..., :1])
    return net.decode(latents, image, lr, features, lr[..., :1])


def _touch_flow(net: Any, image: Array) -> Array:
    features = net.features(image)
    return net(image, features, features)


def _touch_restorer(net: Restorer, lr: Array, memory: Array) -> PyTree:
    return net(lr, lr, memory, lr[..., :1])
