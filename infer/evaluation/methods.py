"""The rows of an evaluation: the bicubic baseline and models, whole or with parts
switched off.
"""

from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from infer.evaluation.clips import to_float, to_uint8
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.networks import prepare
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.stream import init_state, stream
from sdvsr_jax.types import Params
from sdvsr_jax.weights import load as checkpoint

Model = tuple[ModelConfig, Params]
ABLATIONS: dict[str, dict[str, Any]] = {
    "2 steps": {"num_steps": 2},
    "1 step": {"num_steps": 1},
    "no guidance": {"guidance": False},
    "no TPM": {"tpm": False},
    "no guidance, no TPM": {"guidance": False, "tpm": False},
    "new noise": {"noise": "frame"},
    "unrefined flow": {"refine": False},
}


def variant(
    config: ModelConfig,
    *,
    num_steps: int | None = None,
    guidance: bool = True,
    tpm: bool = True,
    noise: Literal["frame", "stream"] | None = None,
    refine: bool = True,
) -> ModelConfig:
    """The same weights with another number of denoising steps or other noise, or with a
    part left out.
    """
    own, flow = config.diffusion, config.flow
    diffusion = replace(
        own, num_steps=num_steps or own.num_steps, noise=noise or own.noise
    )
    if isinstance(flow, FlowNetConfig) and not refine:
        flow = replace(flow, refinements=0)
    return replace(
        config,
        diffusion=diffusion,
        flow=flow,
        use_guidance=config.use_guidance and guidance,
        use_tpm=config.use_tpm and tpm,
    )


def load_models(
    names: tuple[str, ...],
    *,
    num_steps: int | None,
    guidance: bool,
    tpm: bool,
    ablate: bool,
) -> dict[str, Model]:
    """Row name -> (config, raw parameters). With `ablate` the ABLATIONS that change a
    model follow it.
    """
    models = {}
    for name in names:
        config, params = checkpoint.load(name)
        label = (
            name
            if "/" not in name
            else name.rstrip("/").rsplit("/", 1)[1].removesuffix(".safetensors")
        )
        chosen = variant(config, num_steps=num_steps, guidance=guidance, tpm=tpm)
        if _label(label, num_steps, guidance, tpm) in models:
            label = name
        models[_label(label, num_steps, guidance, tpm)] = (chosen, params)
        if ablate:
            changed = {
                row: variant(config, **change) for row, change in ABLATIONS.items()
            }
            models |= {
                f"{label}, {row}": (c, params)
                for row, c in changed.items()
                if c != config
            }
    return models


def _label(name: str, num_steps: int | None, guidance: bool, tpm: bool) -> str:
    switches = [f"{num_steps} steps"] if num_steps else []
    switches += [] if guidance else ["no guidance"]
    return ", ".join([name, *switches, *([] if tpm else ["no TPM"])])


def bicubic(lr: np.ndarray, scale: int) -> np.ndarray:
    """The baseline, uint8: the kernel inside the model (a = -0.75), 0.1 dB better than
    the usual a = -0.5.
    """
    up = jax.jit(upsample_bicubic, static_argnums=1)
    return np.concatenate([to_uint8(up(to_float(frame[None]), scale)) for frame in lr])


def upscale(lr: np.ndarray, model: Model, seed: int = 0) -> np.ndarray:
    """SR of one stream, uint8 [f, H, W, 3], frame by frame as in a live stream."""
    config, params = model
    state = init_state(config, 1, *lr.shape[1:3], seed=seed)
    frames = (jnp.asarray(to_float(frame[None])) for frame in lr)
    return np.concatenate(
        [
            to_uint8(sr)
            for sr in stream(prepare(params, config), state, frames, config=config)
        ]
    )
