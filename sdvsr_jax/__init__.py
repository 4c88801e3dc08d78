"""Streaming 4x video super-resolution with a causal diffusion model (Stream-DiffVSR, arXiv 2512.23709).

config, params = load("nano")
params = prepare(params, config)
state = init_state(config, batch=1, height=180, width=320)
state, sr = step(params, state, lr_frame, config=config)   # [1, 180, 320, 3] -> [1, 720, 1280, 3], in [-1, 1]

with Upscaler("nano") as upscaler:
    sr = upscaler.push(frame)   # numpy uint8 [180, 320, 3] -> [720, 1280, 3]
"""

from sdvsr_jax.checkpoint import load, save
from sdvsr_jax.config import ModelConfig, nano, stream_diffvsr
from sdvsr_jax.networks import init_params, prepare
from sdvsr_jax.stream import StreamState, compiled_step, init_state, reset, rollout, step, stream
from sdvsr_jax.upscaler import Upscaler

__all__ = [
    "ModelConfig",
    "StreamState",
    "Upscaler",
    "compiled_step",
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
