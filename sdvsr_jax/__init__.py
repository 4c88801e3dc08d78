"""Streaming 4x video super-resolution with a causal diffusion model (Stream-DiffVSR,
arXiv 2512.23709).

config, params = load("nano")
prepared = prepare(params, config)
state = init_state(config, batch=1, height=180, width=320)
state, sr = step(prepared, state, lr_frame, config=config)
# [1, 180, 320, 3] -> [1, 720, 1280, 3], in [-1, 1]

with Upscaler("nano") as upscaler:
    sr = upscaler.push(frame)   # numpy uint8 [180, 320, 3] -> [720, 1280, 3]
"""

import importlib
from typing import TYPE_CHECKING, Any

from sdvsr_jax.config import ModelConfig, nano, stream_diffvsr
from sdvsr_jax.networks import init_params
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import (
    StreamState,
    compile_step,
    init_state,
    reset,
    rollout,
    step,
    stream,
)
from sdvsr_jax.types import Prepared

if TYPE_CHECKING:
    from sdvsr_jax.upscaler import Upscaler
    from sdvsr_jax.weights.load import load, save

__version__ = "0.1.0"

__all__ = [
    "ModelConfig",
    "Prepared",
    "StreamState",
    "Upscaler",
    "compile_step",
    "init_params",
    "init_state",
    "load",
    "nano",
    "prepare",
    "reset",
    "rollout",
    "save",
    "step",
    "stream",
    "stream_diffvsr",
]

# Their modules need the weight-file libraries; the model itself works without those,
# and starts sooner.
_LATE = {"load": "weights.load", "save": "weights.load", "Upscaler": "upscaler"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
