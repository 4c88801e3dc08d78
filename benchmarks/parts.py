"""Where a frame's time goes: every part of the step compiled alone, and what doing work
once has saved.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import clock, device
from benchmarks.weights import noise_frame, prepared_params
from sdvsr_jax import flops
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.history import align, flow_input
from sdvsr_jax.networks import bind, shifts_of
from sdvsr_jax.ops.resize import resize_nearest, upsample_bicubic
from sdvsr_jax.ops.subpixel import plain_conv, upsampled_conv
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.stream import decode_latents, init_state, padded_size, step
from sdvsr_jax.types import Array, Params, PyTree


class Part(NamedTuple):
    """A function of its arguments (arrays only) that is called ``calls`` times in a
    frame.
    """

    run: Callable
    arguments: tuple
    calls: int = 1


def measure(
    config: ModelConfig,
    width: int,
    height: int,
    rounds: int,
    peaks: device.Ceilings,
    params: Params | None = None,
) -> list[dict[str, Any]]:
    """One row per part: milliseconds per frame, share of the frame, arithmetic, rate.
    The parts take turns.

    Alone, a part reads its inputs from memory and writes its outputs; in the whole step
    the compiler joins some of that, so the sum is an upper bound.
    """
    params = prepared_params(config) if params is None else params
    parts = split(config, params, width, height)
    calls = {name: _call(part.run, part.arguments) for name, part in parts.items()}
    times = clock.in_turns(calls, rounds)
    whole = times["whole step"].median
    rows = []
    for name, part in parts.items():
        spent = part.calls * times[name].median
        work = part.calls * flops.count(part.run, *part.arguments)
        rows.append(
            {
                "part": name,
                "calls": part.calls,
                "ms": 1e3 * spent,
                "share": spent / whole,
                "gflop": work / 1e9,
                "gflop_per_s": work / spent / 1e9,
                "share_of_peak": work / spent / peaks[config.compute_dtype],
            }
        )
    return rows


def _call(function: Callable, arguments: tuple) -> Callable[[], object]:
    run = jax.jit(function, compiler_options=compiler_options())
    return lambda: jax.block_until_ready(run(*arguments))


def split(
    config: ModelConfig, params: Params, width: int, height: int
) -> dict[str, Part]:
    """The parts in the order of the step, with the arrays that they get there."""
    height, width = padded_size(height, width, config)
    lr, steps = noise_frame(width, height), config.diffusion.num_steps
    state, up = init_state(config, 1, height, width), upsample_bicubic(lr, config.scale)
    has = jnp.ones(1, bool)
    history = jax.jit(_align, static_argnums=7)(
        params, lr, up, state.flow_features, has, lr, up, config
    )
    latents = jax.random.normal(
        jax.random.key(3), (1, height, width, config.unet.latent_channels)
    )
    first = {k: params["folded"][k]["time"][0] for k in ("unet", "controlnet")}

    def flow(p: Params, before: PyTree, lr: Array, up: Array) -> PyTree:
        net, image = bind(p, config).flow, flow_input(lr, up, config)
        return net(image, net.features(image), before)

    def condition(p: Params, warped: Array, trust: Array) -> Array:
        return bind(p, config).controlnet.embed_condition(warped, trust)

    def guidance(
        p: Params, latents: Array, lr: Array, condition: Array, time: Array
    ) -> PyTree:
        net = bind(p, config).controlnet
        return net(
            latents,
            lr,
            condition,
            shifts_of(net, time),
            p["folded"]["controlnet"]["text"],
        )

    def unet(
        p: Params, latents: Array, lr: Array, residuals: PyTree, time: Array
    ) -> Array:
        net = bind(p, config).unet
        return net(
            latents, lr, shifts_of(net, time), p["folded"]["unet"]["text"], residuals
        )

    def decode(p: Params, latents: Array, lr: Array, up: Array, history: Any) -> Array:
        return decode_latents(bind(p, config), latents, lr, up, history, config)

    embedded = jax.jit(condition)(params, history.warped, history.trust)
    guided = (params, latents, lr, embedded, first["controlnet"])
    residuals = jax.jit(guidance)(*guided)
    return {
        "whole step": Part(
            functools.partial(step, config=config),
            (params, state._replace(has_prev=has), lr),
        ),
        "bicubic": Part(lambda x: upsample_bicubic(x, config.scale), (lr,)),
        "flow network": Part(flow, (params, state.flow_features, lr, up)),
        "flow, warp, validity": Part(
            functools.partial(_align, config=config),
            (params, lr, up, state.flow_features, has, lr, up),
        ),
        "guidance: condition": Part(condition, (params, history.warped, history.trust)),
        "guidance: timesteps": Part(guidance, guided, steps),
        "U-Net: timesteps": Part(
            unet, (params, latents, lr, residuals, first["unet"]), steps
        ),
        "decode with TPM": Part(decode, (params, latents, lr, up, history)),
    }


def _align(
    p: Params,
    prev_lr: Array,
    prev_sr: Array,
    before: PyTree,
    has: Array,
    lr: Array,
    up: Array,
    config: ModelConfig,
) -> Any:
    return align(bind(p, config), prev_lr, prev_sr, before, has, lr, up, config)


def savings(
    config: ModelConfig, width: int, height: int, rounds: int
) -> list[dict[str, Any]]:
    """Nearest upsampling and 3x3 convolution: as published, and on sub-pixel phases
    (4/9 of the arithmetic).
    """
    channels, rows = config.unet.block_channels, []
    for level in range(len(channels) - 1, 0, -1):
        scale = config.unet.patch * 2 ** (level - 1)
        tall, wide = -(-height // scale), -(-width // scale)
        c = channels[level]
        dtype = jnp.dtype(config.compute_dtype)
        x = jax.random.normal(
            jax.random.key(0), (1, -(-tall // 2), -(-wide // 2), c), dtype
        )
        kernel = jax.random.normal(jax.random.key(1), (3, 3, c, c), dtype) / (
            3 * c**0.5
        )
        forms = {
            "before": functools.partial(_as_published, height=tall, width=wide),
            "after": functools.partial(upsampled_conv, height=tall, width=wide),
        }
        times = clock.in_turns(
            {n: _call(f, (x, kernel)) for n, f in forms.items()}, rounds
        )
        work = {name: flops.count(form, x, kernel) for name, form in forms.items()}
        rows.append(
            {
                "part": f"upsampling convolution, {c} channels, to {wide}x{tall}",
                "predicted": work["after"] / work["before"],
                "measured": times["after"].median / times["before"].median,
                "before_ms": 1e3 * times["before"].median,
                "after_ms": 1e3 * times["after"].median,
            }
        )
    return rows


def _as_published(x: Array, kernel: Array, height: int, width: int) -> Array:
    return plain_conv(resize_nearest(x, height, width), kernel, (1, 1), (1, 1))


def table(rows: list[dict[str, Any]], saved: list[dict[str, Any]]) -> str:
    """Both as Markdown."""
    lines = [
        "| part of a frame | calls | ms | share | GFLOP | GFLOP/s | of the peak |",
        "|---" + "|---:" * 6 + "|",
    ]
    for r in rows:
        rates = f"{r['gflop']:.1f} | {r['gflop_per_s']:.0f} | {100 * r['share_of_peak']:.0f} %"
        lines.append(
            f"| {r['part']} | {r['calls']} | {r['ms']:.3g} | {100 * r['share']:.0f} % | {rates} |"
        )
    lines += [
        "",
        "| done with less work | predicted time | measured | before ms | after ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for r in saved:
        times = f"{r['before_ms']:.3g} | {r['after_ms']:.3g}"
        lines.append(
            f"| {r['part']} | {100 * r['predicted']:.0f} % | {100 * r['measured']:.0f} % | {times} |"
        )
    return "\n".join(lines)
