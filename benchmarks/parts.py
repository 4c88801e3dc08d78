"""Where a frame's time goes: every part compiled alone, beside the whole step, timed in turn.

A part alone reads its inputs from memory and cannot be fused with its neighbours, so the parts may add up to more
than the whole.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.ceilings import ceilings
from benchmarks.models import configure, parser, random_params
from benchmarks.report import table, write
from benchmarks.timing import alternate, machine, spread
from sdvsr_jax import init_state, step
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.flops import count
from sdvsr_jax.history import align, flow_input
from sdvsr_jax.models.vae import back_project
from sdvsr_jax.networks import bind
from sdvsr_jax.resize import upsample_bicubic
from sdvsr_jax.stream import padded_size
from sdvsr_jax.types import Params

Part = tuple[int, Callable[..., Any], tuple]
"""Calls per frame, the function of (params, *arguments), the arguments."""


def parts(config: ModelConfig, params: Params, width: int, height: int) -> dict[str, Part]:
    """The parts of a frame by name, and the whole."""
    state = init_state(config, 1, height, width)
    height, width = padded_size(height, width, config)
    lr = jax.random.uniform(jax.random.key(1), (1, height, width, 3), minval=-1)
    up, folded = upsample_bicubic(lr, config.scale), params["folded"]
    latents = jax.random.normal(jax.random.key(2), (1, height, width, config.unet.latent_channels))
    first = {name: jax.tree.map(lambda a: a[0], folded[name]["time"]) for name in ("unet", "controlnet")}
    text = {name: folded[name]["text"] for name in ("unet", "controlnet")}
    net = functools.partial(bind, config=config)
    has_prev = jnp.ones(1, bool)

    def look_back(p: Params, lr: Any, up: Any) -> Any:
        return align(net(p), state.prev_lr, state.prev_sr, state.flow_features, has_prev, lr, up, config)

    history = jax.jit(look_back)(params, lr, up)
    condition = jax.jit(lambda p, *a: net(p).controlnet.embed_condition(*a))(params, history.warped, history.trust)

    def guide(p: Params, x: Any, lr: Any, condition: Any) -> Any:
        return net(p).controlnet(x, lr, condition, first["controlnet"], text["controlnet"])

    residuals = jax.jit(guide)(params, latents, lr, condition)

    def features(p: Params, warped: Any, up: Any, lr: Any) -> Any:
        return net(p).vae.features(warped, up, lr, raw=config.quirks.raw_tpm_input)

    before = jax.jit(features)(params, history.warped, up, lr)
    steps = config.diffusion.num_steps
    found: dict[str, Part] = {
        "bicubic": (1, lambda p, lr: upsample_bicubic(lr, config.scale), (lr,)),
        "flow features": (1, lambda p, lr, up: net(p).flow.features(flow_input(lr, up, config)), (lr, up)),
        "flow, warp, validity": (1, look_back, (lr, up)),
        "guidance condition": (
            1, lambda p, *a: net(p).controlnet.embed_condition(*a), (history.warped, history.trust)),
        "guidance": (steps, guide, (latents, lr, condition)),
        "U-Net": (
            steps,
            lambda p, x, lr, r: net(p).unet(x, lr, first["unet"], text["unet"], r),
            (latents, lr, residuals),
        ),
        "TPM features": (1, features, (history.warped, up, lr)),
        "decode": (
            1,
            lambda p, x, up, lr, b: net(p).vae.decode(x, up, lr, b, history.validity),
            (latents, up, lr, before),
        ),
    }  # fmt: skip
    if config.vae.back_project:
        found["of which back-projection"] = (1, lambda p, up, lr: back_project(up, lr), (up, lr))
    found["whole step"] = (1, lambda p, s, lr: step(p, s, lr, config=config), (state, lr))
    return found


def measure(config: ModelConfig, width: int, height: int, rounds: int) -> list[dict[str, Any]]:
    """One row per part: calls, time per frame, arithmetic, its rate and the share of the measured peak."""
    params = random_params(config)
    chosen = parts(config, params, width, height)
    compiled = {name: jax.jit(part[1]).lower(params, *part[2]).compile() for name, part in chosen.items()}
    runs = {name: functools.partial(compiled[name], params, *chosen[name][2]) for name in chosen}
    alternate(runs, 1)
    times = alternate(runs, rounds)
    peak = ceilings((config.compute_dtype,))["matmul"][config.compute_dtype]
    rows = []
    for name, (calls, run, arguments) in chosen.items():
        ms, gflop = calls * spread(times[name])["median_ms"], calls * count(run, params, *arguments) / 1e9
        rows.append({"part": name, "calls": calls, "ms_per_frame": ms, "gflop": gflop, "gflop_s": 1e3 * gflop / ms,
                     "share_of_matmul": gflop / ms / peak})  # fmt: skip
    whole = rows[-1]["ms_per_frame"]
    return [row | {"share_of_whole": row["ms_per_frame"] / whole} for row in rows]


def main(arguments: list[str]) -> None:
    """One table per model, size and precision."""
    options = parser("parts", __doc__).parse_args(arguments)
    found = {}
    print(machine())
    for name in options.models:
        for width, height in options.sizes:
            for precision in options.precisions:
                title = f"{name} {width}x{height} {precision}"
                found[title] = measure(configure(name, precision), width, height, options.frames)
                print(f"\n{title}\n\n{table(found[title])}", flush=True)
    write(options.json, {"machine": machine(), "parts": found})
