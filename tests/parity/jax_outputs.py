"""The outputs of this package for each parity case: inputs -> named arrays, in true
float32.
"""

import dataclasses
import functools
from collections.abc import Callable

import cases
import jax
import jax.numpy as jnp
import numpy as np
from cases import Arrays

from sdvsr_jax import diffusion
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.history import align
from sdvsr_jax.models.blocks import MidBlock
from sdvsr_jax.models.flow.correlation import make_lookup
from sdvsr_jax.models.flow.raft import RAFT
from sdvsr_jax.models.layers import Transformer
from sdvsr_jax.models.text import TextConfig, TextEncoder
from sdvsr_jax.networks import bind, build
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import StreamState, init_state, step
from sdvsr_jax.types import Params, Prepared


def exact(function: Callable, *args: object) -> Arrays:
    """Compiled and run without reduced matrix precision."""
    with jax.default_matmul_precision("highest"):
        return jax.tree.map(np.asarray, jax.jit(function)(*args))


def text(params: Params, config: TextConfig, ids: np.ndarray) -> np.ndarray:
    encoder = TextEncoder(config)
    with jax.default_matmul_precision("highest"):
        states = encoder.apply({"params": params}, jnp.asarray(ids))
    return np.asarray(states)


def unet(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    def run(params: Params, inputs: Arrays) -> Arrays:
        def outputs(net, latents, image, timesteps, text):
            shifts = net.precompute_shifts(timesteps)
            prompt = net.precompute_prompt(text)
            residuals = None
            if "mid" in inputs:
                names = sorted(name for name in inputs if name.startswith("down_"))
                residuals = ([inputs[name] for name in names], inputs["mid"])
            v = net(latents, image, shifts, prompt, residuals)
            return {"output": v, "temb": net.time_embedding(timesteps)}

        def is_compared(module: object, _: str) -> bool:
            return isinstance(module, MidBlock | Transformer)

        names = ("latents", "image", "timesteps", "text")
        values, state = build(config).unet.apply(
            {"params": params["unet"]},
            *[inputs[name] for name in names],
            method=outputs,
            capture_intermediates=is_compared,
        )
        intermediates = state["intermediates"]
        # a tuple of all calls; there is one
        (attention,) = intermediates["down_blocks_1"]["attentions_0"]["__call__"]
        (middle,) = intermediates["mid_block"]["__call__"]
        return values | {"down1_attn0": attention, "mid": middle}

    return exact(run, params, inputs)


def controlnet(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    def run(params: Params, inputs: Arrays) -> Arrays:
        net = bind(params, config).controlnet
        image = inputs["condition"]
        # the published form has no such map: everything is valid
        validity = jnp.ones((len(image), 1, 1, 1))
        condition = net.embed_condition(image, validity)
        shifts = net.precompute_shifts(inputs["timesteps"])
        prompt = net.precompute_prompt(inputs["text"])
        skips, middle = net(
            inputs["latents"], inputs["image"], condition, shifts, prompt
        )
        outputs = {f"down_{i:02d}": skip for i, skip in enumerate(skips)}
        return outputs | {"cond_embedding": condition, "mid": middle}

    return exact(run, params, inputs)


def vae(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    """`image` is encoded; `latents` are decoded alone and with the features of
    `previous`.
    """

    def run(params: Params, inputs: Arrays) -> Arrays:
        net = bind(params, config).vae
        image = inputs["image"]
        latents = inputs["latents"]
        validity = jnp.ones((1, 1, 1, 1))
        _, height, width, _ = latents.shape
        lr = jnp.zeros((1, height, width, 3))
        features = net.features(inputs["previous"], image, lr, raw=True)
        # ours are in the order of the decoder, which uses the last one first
        outputs = {f"feat_{i}": x for i, x in enumerate(reversed(features))}
        return outputs | {
            "encode_latents": net.encode(image, image, lr),
            "decode_plain": net.decode(latents, image, lr, [], validity),
            "decode_temporal": net.decode(latents, image, lr, features, validity),
        }

    return exact(run, params, inputs)


def raft(
    flow_params: Params, inputs: Arrays, counts: tuple[int, ...] = (1, 12)
) -> Arrays:
    """`flow_<k>` is the full-size flow after update k + 1."""

    def run(params: Params, inputs: Arrays) -> Arrays:
        def bound(num_updates: int) -> RAFT:
            config = dataclasses.replace(cases.RAFT_LARGE, num_updates=num_updates)
            return RAFT(config).bind({"params": params})

        image = inputs["image"]
        net = bound(1)
        features = net.features(image)
        prev_features = net.features(inputs["previous"])
        outputs = {"fmap": features, "context": net.context_encoder(image)}
        for kind in ("volume", "on_demand"):
            lookup = make_lookup(features, prev_features, kind)
            outputs[f"lookup_{kind}"] = lookup(inputs["coords"])
        for count in counts:
            flow = bound(count)(image, features, prev_features)
            outputs[f"flow_{count - 1:02d}"] = flow
        return outputs

    return exact(run, flow_params, inputs)


def ddim(config: ModelConfig, inputs: Arrays) -> Arrays:
    def body(x, step):
        coefficients, v = step
        following, x0 = diffusion.ddim_update(x, v, coefficients)
        return following, (following, x0)

    def run(inputs: Arrays) -> Arrays:
        steps = (diffusion.step_coefficients(config.diffusion), inputs["v"])
        _, (following, x0) = jax.lax.scan(body, inputs["x"], steps)
        return {"next": following, "x0": x0}

    constants = {
        "alphas_cumprod": diffusion.alphas_cumprod(config.diffusion),
        "timesteps": diffusion.timesteps(config.diffusion),
    }
    return exact(run, inputs) | constants


def pipeline(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    """The step, frame after frame, from given noise; `v` is the U-Net's output at every
    timestep.

    Frame 0 has no previous frame: its `flow` and `warped` are zero.
    """
    run = _compiled_step(config)
    _, height, width, _ = inputs["lr"].shape
    frames = []
    with jax.default_matmul_precision("highest"):
        prepared = prepare(params, config)
        state = init_state(config, 1, height, width)
        for lr, noise in zip(inputs["lr"], inputs["noise"]):
            state, outputs = run(prepared, state, lr[None], noise[None])
            frames.append(outputs)
    return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}


def decoded(config: ModelConfig, params: Params, inputs: Arrays) -> np.ndarray:
    """Decoder outputs of the plain step alone."""
    run = jax.jit(functools.partial(step, config=config))
    _, height, width, _ = inputs["lr"].shape
    frames = []
    with jax.default_matmul_precision("highest"):
        prepared = prepare(params, config)
        state = init_state(config, 1, height, width)
        for lr, noise in zip(inputs["lr"], inputs["noise"]):
            state, sr = run(prepared, state, lr[None], noise=noise[None])
            frames.append(np.asarray(sr[0]))
    return np.stack(frames)


@functools.cache
def _compiled_step(config: ModelConfig) -> Callable:
    return jax.jit(functools.partial(_step, config))


def _step(config: ModelConfig, prepared: Prepared, state: StreamState, lr, noise):
    """`stream.step` itself, and beside it the same parts once more for the values
    between them.
    """
    nets = bind(prepared.params, config)
    prompt = prepared.prompt
    up = upsample_bicubic(lr, config.scale)
    history = align(nets, state, lr, up, config)
    features = nets.flow.features(up)
    flow = nets.flow(up, features, state.flow_features)
    has_prev = state.has_prev[:, None, None, None]
    condition = nets.controlnet.embed_condition(history.warped, history.validity_sr)

    def denoise(x, per_step):
        coefficients, shifts = per_step
        residuals = nets.controlnet(
            x, lr, condition, shifts.controlnet, prompt.controlnet
        )
        residuals = jax.tree.map(lambda r: jnp.where(history.has_prev, r, 0), residuals)
        v = nets.unet(x, lr, shifts.unet, prompt.unet, residuals)
        following, _ = diffusion.ddim_update(x, v, coefficients)
        return following, v

    per_step = diffusion.step_coefficients(config.diffusion), prepared.time_shifts
    x, velocities = jax.lax.scan(denoise, noise, per_step)
    new_state, sr = step(prepared, state, lr, config=config, noise=noise)
    outputs = {
        "bicubic": up,
        "flow": jnp.where(has_prev, flow, 0),
        "warped": jnp.where(has_prev, history.warped, 0),
        "v": velocities.swapaxes(0, 1),
        "latents": x,
        "decoded": sr,
    }
    return new_state, {name: value[0] for name, value in outputs.items()}


def raft_params() -> Params:
    def touch(net: RAFT, x: jax.Array) -> jax.Array:
        return net(x, net.features(x), net.features(x))

    net = RAFT(cases.RAFT_LARGE)
    # the smallest image that it takes
    image = jnp.zeros((1, 64, 64, 3))
    target = jax.eval_shape(lambda: net.init(jax.random.key(0), image, method=touch))
    return cases.seeded_params("raft_large", target["params"])


def bicubic(image: np.ndarray) -> np.ndarray:
    return exact(lambda x: upsample_bicubic(x, 4), image)


def warps(inputs: Arrays) -> Arrays:
    stretched = functools.partial(warp, stretch=True)
    flows = dict(inputs)
    image = flows.pop("image")
    return {name: exact(stretched, image, flow) for name, flow in flows.items()}


RUN: dict[str, Callable[[Params, Arrays], Arrays]] = {
    "text": lambda _, inputs: {
        "states": text(cases.text_params(), cases.TEXT, inputs["ids"])
    },
    "unet": lambda params, inputs: unet(cases.MODEL, params, inputs),
    "unet_odd": lambda params, inputs: unet(cases.MODEL, params, inputs),
    "controlnet": lambda params, inputs: controlnet(cases.MODEL, params, inputs),
    "vae": lambda params, inputs: vae(cases.MODEL, params, inputs),
    "vae_odd": lambda params, inputs: vae(cases.MODEL, params, inputs),
    "raft": lambda _, inputs: raft(raft_params(), inputs),
    "warp": lambda _, inputs: warps(inputs),
    "bicubic": lambda _, inputs: {"up": bicubic(inputs["image"])},
    "ddim": lambda _, inputs: ddim(cases.MODEL, inputs),
    "pipeline": lambda params, inputs: pipeline(cases.MODEL, params, inputs),
}
"""For every case of `cases.CASES`: (params of the small model, inputs) -> outputs."""
