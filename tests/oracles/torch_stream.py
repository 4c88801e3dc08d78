"""A stream of frames through the PyTorch forms on PyTorch's own device: eager,
compiled, or with CUDA graphs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.types import Params, Prepared
from tests.oracles import torch_nano

Run = Callable[[Any, Any], torch.Tensor]
"""(LR frame, noise), NHWC arrays -> SR frame, finished."""


def runner(
    config: ModelConfig, params: Params | Prepared, mode: str
) -> tuple[Run, Callable[[torch.Tensor], np.ndarray]]:
    """The stream, and what makes its frames NHWC arrays. Raw parameters, or (`nano`)
    prepared float32 ones.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if mode == "graphs" and device != "cuda":
        raise ValueError("CUDA graphs need a CUDA device, PyTorch found none")
    dtype = getattr(torch, config.compute_dtype)
    make = _nano if isinstance(config.flow, FlowNetConfig) else _published
    frame = make(config, params, mode, device, dtype)

    def tensor(x: Any) -> torch.Tensor:
        nchw = np.array(x).transpose(0, 3, 1, 2)
        return torch.from_numpy(nchw).to(device)

    def run(lr: Any, noise: Any) -> torch.Tensor:
        with torch.no_grad():
            sr = frame(tensor(lr), tensor(noise))
        if device == "cuda":
            torch.cuda.synchronize()
        return sr

    return run, lambda sr: sr.float().cpu().numpy().transpose(0, 2, 3, 1)


def _nano(
    config: ModelConfig,
    params: Params | Prepared,
    mode: str,
    device: str,
    dtype: torch.dtype,
) -> Callable:
    weights = torch_nano.weights(params, device)
    coefficients = torch_nano.coefficients_of(config)
    step = _compiled(torch_nano.step, mode)
    state = None

    def run(lr: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        nonlocal state
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            state, sr = step(weights, state, lr, noise, coefficients, config)
        return sr

    return run


def _published(
    config: ModelConfig,
    params: Params | Prepared,
    mode: str,
    device: str,
    dtype: torch.dtype,
) -> Callable:
    from tests.oracles import torch_published

    nets = torch_published.networks(config, params, device, dtype)
    modules = {
        name: _compiled(getattr(nets, name), mode)
        for name in ("unet", "controlnet", "raft")
    }
    nets.vae.decode = _compiled(nets.vae.decode, mode)
    nets.vae.features = _compiled(nets.vae.features, mode)
    nets = nets._replace(**modules)
    before: dict[str, Any] = {"bicubic": None, "decoded": None}

    def run(lr: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        nonlocal before
        outputs = torch_published.frame(
            nets, config, lr.to(dtype), noise, before["bicubic"], before["decoded"]
        )
        before = dict(outputs)
        return outputs["decoded"]

    return run


def _compiled(function: Any, mode: str) -> Any:
    if mode == "eager":
        return function
    # the name of graphs there
    torch_mode = "reduce-overhead" if mode == "graphs" else "default"
    run = torch.compile(function, mode=torch_mode)
    if mode == "compiled":
        return run

    def call(*arguments: Any, **named: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        results = run(*arguments, **named)
        # the next replay of a graph writes over its results
        return pytree.tree_map_only(torch.Tensor, torch.clone, results)

    return call
