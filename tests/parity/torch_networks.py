"""The reference networks in PyTorch, with seeded weights: from the libraries, and one restated in benchmarks/."""

import cases
import numpy as np
import seeded
import torch
from torch import nn

from benchmarks import torch_published
from sdvsr_jax.config import RAFTConfig, UNetConfig


def load(part: str, module: nn.Module) -> nn.Module:
    """Seeded weights for every name of the module's own state dict."""
    state = module.state_dict()
    shapes = {
        k: tuple(v.shape) for k, v in state.items() if not k.endswith(("num_batches_tracked", "position_ids"))
    }
    made = {key: torch.from_numpy(np.array(value)) for key, value in seeded.state_dict(part, shapes).items()}
    module.load_state_dict(state | made)
    return module.eval().requires_grad_(False)


def unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    up = {"up_block_types": ["CrossAttnUpBlock2D"] * 3 + ["UpBlock2D"], "out_channels": 4}
    return load("unet", UNet2DConditionModel(**_block_settings(cases.MODEL.unet), **up))


def controlnet() -> nn.Module:
    from diffusers import ControlNetModel

    channels = cases.MODEL.guidance.condition_channels
    settings = _block_settings(cases.MODEL.unet)
    return load("controlnet", ControlNetModel(conditioning_embedding_out_channels=channels, **settings))


def _block_settings(config: UNetConfig) -> dict:
    return {
        "in_channels": 7,
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3,
        "only_cross_attention": [True, True, True, False],
        "block_out_channels": config.block_channels,
        "layers_per_block": 2,
        "attention_head_dim": config.num_heads,
        "cross_attention_dim": config.text_channels,
        "use_linear_projection": True,
        "norm_num_groups": config.num_groups,
    }


def text_encoder() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    c = cases.TEXT
    sizes = {name: getattr(c, name) for name in type(c).__dataclass_fields__}
    encoder = CLIPTextModel(CLIPTextConfig(**sizes, bos_token_id=0, eos_token_id=2, pad_token_id=1))
    # transformers 5 dropped the prefix that published checkpoints have.
    load("text_encoder", encoder if hasattr(encoder, "text_model") else nn.ModuleDict({"text_model": encoder}))
    return encoder


def raft(part: str, config: RAFTConfig) -> nn.Module:
    return load(part, torch_published.raft(config))


def vae() -> torch_published.TemporalAutoencoder:
    return load("vae", torch_published.TemporalAutoencoder(cases.MODEL.vae.decoder_channels[0]))
