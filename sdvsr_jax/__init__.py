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
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdvsr_jax.config import ModelConfig, nano, stream_diffvsr
    from sdvsr_jax.networks import init_params
    from sdvsr_jax.prepare import prepare
    from sdvsr_jax.state import StreamState, reset
    from sdvsr_jax.stream import compile_step, init_state, rollout, step, stream
    from sdvsr_jax.types import Prepared
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

# Name -> its module, imported when the name is used: a start that reads its compiled
# program needs no networks, and the model itself no weight-file libraries.
_HOMES = {
    "ModelConfig": "config",
    "Prepared": "types",
    "StreamState": "state",
    "Upscaler": "upscaler",
    "compile_step": "stream",
    "init_params": "networks",
    "init_state": "stream",
    "load": "weights.load",
    "nano": "config",
    "prepare": "prepare",
    "reset": "state",
    "rollout": "stream",
    "save": "weights.load",
    "step": "stream",
    "stream": "stream",
    "stream_diffvsr": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    module = importlib.import_module(f"{__name__}.{home}")
    return getattr(module, name)


class _Package(ModuleType):
    """`prepare` and `stream` are functions here, although modules have these names."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Python would put a module that it has imported in the place of the function.
        is_hidden = name in _HOMES and isinstance(value, ModuleType)
        if not is_hidden:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
