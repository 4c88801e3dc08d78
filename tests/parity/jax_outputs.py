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
    with jax.default_matmul_precision("highest"):
        return np.asarray(
            TextEncoder(config).apply({"params": params}, jnp.asarray(ids))
        )


def unet(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    def run(params: Params, inputs: Arrays) -> Arrays:
        def outputs(net, latents, image, timesteps, text):
            shifts = net.precompute_shifts(timesteps)
            prompt = net.precompute_prompt(text)
            residuals = None
            if "mid" in inputs:
                residuals = (
                    [inputs[k] for k in sorted(inputs) if k.startswith("down_")],
                    inputs["mid"],
                )
            v = net(latents, image, shifts, prompt, residuals)
            return {"output": v, "temb": net.time_embedding(timesteps)}

        arguments = (inputs[k] for k in ("latents", "image", "timesteps", "text"))
        values, state = build(config).unet.apply(
            {"params": params["unet"]},
            *arguments,
            method=outputs,
            capture_intermediates=lambda module, _: isinstance(
                module, MidBlock | Transformer
            ),
        )
        intermediates = state["intermediates"]
        attention, mid = (
            intermediates["down_blocks_1"]["attentions_0"]["__call__"],
            intermediates["mid_block"]["__call__"],
        )
        return values | {"down1_attn0": attention[0], "mid": mid[0]}

    return exact(run, params, inputs)


def controlnet(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    def run(params: Params, inputs: Arrays) -> Arrays:
        net = bind(params, config).controlnet
        image = inputs["condition"]
        condition = net.embed_condition(image, jnp.ones((len(image), 1, 1, 1)))
        shifts = net.precompute_shifts(inputs["timesteps"])
        prompt = net.precompute_prompt(inputs["text"])
        down, mid = net(inputs["latents"], inputs["image"], condition, shifts, prompt)
        return {"cond_embedding": condition, "mid": mid} | {
            f"down_{i:02d}": d for i, d in enumerate(down)
        }

    return exact(run, params, inputs)


def vae(config: ModelConfig, params: Params, inputs: Arrays) -> Arrays:
    """`image` is encoded; `latents` are decoded alone and with the features of
    `previous`.
    """

    def run(params: Params, inputs: Arrays) -> Arrays:
        net = bind(params, config).vae
        image, valid = inputs["image"], jnp.ones((1, 1, 1, 1))
        lr = jnp.zeros((1, *inputs["latents"].shape[1:3], 3))
        feats = net.features(inputs["previous"], image, lr, raw=True)
        return {
            "encode_latents": net.encode(image, image, lr),
            "decode_plain": net.decode(inputs["latents"], image, lr, [], valid),
            "decode_temporal": net.decode(inputs["latents"], image, lr, feats, valid),
        } | {f"feat_{i}": f for i, f in enumerate(feats[::-1])}

    return exact(run, params, inputs)


def raft(
    flow_params: Params, inputs: Arrays, counts: tuple[int, ...] = (1, 12)
) -> Arrays:
    """`flow_<k>` is the full-size flow after update k + 1."""

    def run(params: Params, inputs: Arrays) -> Arrays:
        net = RAFT(cases.RAFT_LARGE).bind({"params": params})
        image, previous = (
            net.features(inputs["image"]),
            net.features(inputs["previous"]),
        )
        flows = {}
        for count in counts:
            short = RAFT(dataclasses.replace(cases.RAFT_LARGE, num_updates=count)).bind(
                {"params": params}
            )
            flows[f"flow_{count - 1:02d}"] = short(inputs["image"], image, previous)
        lookups = {
            f"lookup_{kind}": make_lookup(image, previous, kind)(inputs["coords"])
            for kind in ("volume", "on_demand")
        }
        return {
            "fmap": image,
            "context": net.context_encoder(inputs["image"]),
            **lookups,
            **flows,
        }

    return exact(run, flow_params, inputs)


def ddim(config: ModelConfig, inputs: Arrays) -> Arrays:
    def body(x, step):
        following, x0 = diffusion.ddim_update(x, step[1], step[0])
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
    frames = []
    with jax.default_matmul_precision("highest"):
        prepared = prepare(params, config)
        state = init_state(config, 1, *inputs["lr"].shape[1:3])
        for lr, noise in zip(inputs["lr"], inputs["noise"]):
            state, outputs = _compiled_step(config)(
                prepared, state, lr[None], noise[None]
            )
            frames.append(outputs)
    return {name: np.stack([f[name] for f in frames]) for name in frames[0]}


def decoded(config: ModelConfig, params: Params, inputs: Arrays) -> np.ndarray:
    """Decoder outputs of the plain step alone."""
    with jax.default_matmul_precision("highest"):
        prepared = prepare(params, config)
        state = init_state(config, 1, *inputs["lr"].shape[1:3])
        run = jax.jit(functools.partial(step, config=config))
        frames = []
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
    nets, prompt = bind(prepared.params, config), prepared.prompt
    up = upsample_bicubic(lr, config.scale)
    history = align(nets, state, lr, up, config)
    features, has_prev = nets.flow.features(up), state.has_prev[:, None, None, None]
    condition = nets.controlnet.embed_condition(history.warped, history.validity_sr)

    def denoise(x, per_step):
        coefficients, shifts = per_step
        residuals = nets.controlnet(
            x, lr, condition, shifts.controlnet, prompt.controlnet
        )
        residuals = jax.tree.map(lambda r: jnp.where(history.has_prev, r, 0), residuals)
        v = nets.unet(x, lr, shifts.unet, prompt.unet, residuals)
        return diffusion.ddim_update(x, v, coefficients)[0], v

    per_step = diffusion.step_coefficients(config.diffusion), prepared.time_shifts
    x, velocities = jax.lax.scan(denoise, noise, per_step)
    new_state, sr = step(prepared, state, lr, config=config, noise=noise)
    outputs = {
        "bicubic": up,
        "flow": jnp.where(has_prev, nets.flow(up, features, state.flow_features), 0),
        "warped": jnp.where(has_prev, history.warped, 0),
        "v": velocities.swapaxes(0, 1),
        "latents": x,
        "decoded": sr,
    }
    return new_state, {name: value[0] for name, value in outputs.items()}


def raft_params() -> Params:
    def touch(net: RAFT, x: jax.Array) -> jax.Array:
        return net(x, net.features(x), net.features(x))

    net, image = RAFT(cases.RAFT_LARGE), jnp.zeros((1, 64, 64, 3))
    target = jax.eval_shape(
        lambda: net.init(jax.random.key(0), image, method=touch)["params"]
    )
    return cases.seeded_params("raft_large", target)


def bicubic(image: np.ndarray) -> np.ndarray:
    return exact(lambda x: upsample_bicubic(x, 4), image)


def warps(inputs: Arrays) -> Arrays:
    flows = {k: f for k, f in inputs.items() if k != "image"}
    return {
        k: exact(lambda *a: warp(*a, stretch=True), inputs["image"], f)
        for k, f in flows.items()
    }


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
