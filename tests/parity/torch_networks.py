"""The reference networks in PyTorch at toy width, with seeded weights by state-dict
name.
"""

import dataclasses

import cases
import numpy as np
import seeded
import torch
from torch import nn

from sdvsr_jax.config import RAFTConfig
from tests.oracles import torch_published as published


def load(part: str, module: nn.Module) -> nn.Module:
    """Seeded weights for every name of the module's own state dict."""
    state = module.state_dict()
    shapes = {
        key: tuple(value.shape)
        for key, value in state.items()
        # counters, not weights
        if not key.endswith(("num_batches_tracked", "position_ids"))
    }
    weights = seeded.state_dict(part, shapes)
    network = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
    module.load_state_dict(state | network)
    return module.eval().requires_grad_(False)


def unet() -> nn.Module:
    return load("unet", published.unet(cases.MODEL))


def controlnet() -> nn.Module:
    return load("controlnet", published.controlnet(cases.MODEL))


def text_encoder() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = dataclasses.asdict(cases.TEXT)
    config = CLIPTextConfig(**sizes, bos_token_id=0, eos_token_id=2, pad_token_id=1)
    encoder = CLIPTextModel(config)
    # transformers 5 dropped the prefix that published checkpoints have.
    has_prefix = hasattr(encoder, "text_model")
    module = encoder if has_prefix else nn.ModuleDict({"text_model": encoder})
    load("text_encoder", module)
    return encoder


def raft(part: str, config: RAFTConfig) -> nn.Module:
    return load(part, published.raft(config))


def vae() -> published.TemporalAutoencoder:
    net = published.TemporalAutoencoder(cases.MODEL)
    load("vae", net)
    return net
