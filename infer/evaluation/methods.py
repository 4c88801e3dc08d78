"""The rows of an evaluation: the bicubic baseline and models, whole or in part."""

from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from infer.evaluation.clips import to_float, to_uint8
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import Step, compile_step, init_state, stream
from sdvsr_jax.types import Params
from sdvsr_jax.weights import load as checkpoint

Model = tuple[ModelConfig, Params]
"""The raw parameters, which variants share."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "2 steps": {"num_steps": 2},
    "1 step": {"num_steps": 1},
    "no guidance": {"guidance": False},
    "no TPM": {"tpm": False},
    "no guidance, no TPM": {"guidance": False, "tpm": False},
    "new noise": {"noise": "frame"},
    "unrefined flow": {"refine": False},
}
_upsample = jax.jit(upsample_bicubic, static_argnums=1)


def variant(
    config: ModelConfig,
    *,
    num_steps: int | None = None,
    guidance: bool = True,
    tpm: bool = True,
    noise: Literal["frame", "stream"] | None = None,
    refine: bool = True,
) -> ModelConfig:
    """Returns the model with other steps or noise, or with a part left out.

    The same weights fit. None keeps the model's own.
    """
    diffusion = config.diffusion
    if num_steps is not None:
        diffusion = replace(diffusion, num_steps=num_steps)
    if noise is not None:
        diffusion = replace(diffusion, noise=noise)
    flow = config.flow
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
    """Row name -> (config, raw parameters).

    With `ablate` the ABLATIONS that change a model follow it.
    """
    models: dict[str, Model] = {}
    switches = _switches(num_steps, guidance, tpm)
    for name in names:
        config, params = checkpoint.load(name)
        row = f"{_short(name)}{switches}"
        # files of one name in two folders keep rows of their own
        if row in models:
            row = f"{name}{switches}"
        variation = variant(config, num_steps=num_steps, guidance=guidance, tpm=tpm)
        models[row] = (variation, params)
        if ablate:
            models |= _ablate(_short(name), config, params)
    return models


def _short(name: str) -> str:
    """The last part of a path, without the suffix of weights."""
    last = name.rstrip("/").rsplit("/", 1)[-1]
    return last.removesuffix(".safetensors") if "/" in name else name


def _switches(num_steps: int | None, guidance: bool, tpm: bool) -> str:
    switches = ""
    if num_steps is not None:
        switches += f", {num_steps} steps"
    if not guidance:
        switches += ", no guidance"
    if not tpm:
        switches += ", no TPM"
    return switches


def _ablate(name: str, config: ModelConfig, params: Params) -> dict[str, Model]:
    models = {}
    for label, change in ABLATIONS.items():
        ablation = variant(config, **change)
        if ablation != config:
            models[f"{name}, {label}"] = (ablation, params)
    return models


def bicubic(lr: np.ndarray, scale: int) -> np.ndarray:
    """Returns the baseline, uint8 [f, H, W, 3], of uint8 [f, h, w, 3].

    By the kernel inside the model (a = -0.75), 0.1 dB better than the usual a = -0.5.
    """
    # frame by frame, so that one program serves clips of every length
    frames = []
    for frame in lr:
        image = to_float(frame[None])
        sr = _upsample(image, scale)
        frames.append(to_uint8(sr))
    return np.concatenate(frames)


class Upscalers:
    """Models by their configs: the programs of each are compiled once, for as long as
    this object lives.
    """

    def __init__(self) -> None:
        self._steps: dict[ModelConfig, Step] = {}

    def __call__(self, lr: np.ndarray, model: Model, seed: int = 0) -> np.ndarray:
        """Returns SR of one stream, uint8 [f, H, W, 3], of uint8 [f, h, w, 3], frame by
        frame as a live stream.
        """
        config, params = model
        _, height, width, _ = lr.shape
        state = init_state(config, 1, height, width, seed=seed)
        frames = (jnp.asarray(to_float(frame[None])) for frame in lr)
        prepared = prepare(params, config)
        outputs = stream(self._step(config), prepared, state, frames)
        return np.concatenate([to_uint8(sr) for sr in outputs])

    def _step(self, config: ModelConfig) -> Step:
        if config not in self._steps:
            self._steps[config] = compile_step(config)
        return self._steps[config]


def upscale(lr: np.ndarray, model: Model, seed: int = 0) -> np.ndarray:
    """Returns SR of one stream as `Upscalers` does, for a model that is used once."""
    return Upscalers()(lr, model, seed)
