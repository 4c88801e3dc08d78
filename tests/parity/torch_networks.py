"""The reference networks in PyTorch: from diffusers, torchvision and transformers, and one restated here."""

import cases
import numpy as np
import seeded
import torch
import torch.nn.functional as F
from torch import nn

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
    """RAFT-large with all widths scaled as in our config."""
    from torchvision.models.optical_flow import raft as tv

    c = config.channels
    layers = (c, c, c * 3 // 2, c * 2, c * 4)
    block = tv.UpdateBlock(
        motion_encoder=tv.MotionEncoder(
            in_channels_corr=324, corr_layers=(4 * c, 3 * c), flow_layers=(2 * c, c), out_channels=2 * c
        ),
        recurrent_block=tv.RecurrentBlock(
            input_size=4 * c, hidden_size=2 * c, kernel_size=((1, 5), (5, 1)), padding=((0, 2), (2, 0))
        ),
        flow_head=tv.FlowHead(in_channels=2 * c, hidden_size=4 * c),
    )
    encoders = [
        tv.FeatureEncoder(block=tv.ResidualBlock, layers=layers, norm_layer=norm)
        for norm in (nn.InstanceNorm2d, nn.BatchNorm2d)
    ]
    mask = tv.MaskPredictor(in_channels=2 * c, hidden_size=4 * c, multiplier=0.25)
    return load(part, tv.RAFT(feature_encoder=encoders[0], context_encoder=encoders[1],
                              corr_block=tv.CorrBlock(num_levels=4, radius=4), update_block=block,
                              mask_predictor=mask))  # fmt: skip


class Block(nn.Module):
    """Block of the temporal autoencoder; `previous` are features of the warped previous frame."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1),
        )  # fmt: skip
        self.alpha = nn.Parameter(torch.zeros(()))
        self.temporal_processor = nn.Sequential(
            nn.Conv1d(c, c, 3, padding=1), nn.ReLU(), nn.Conv1d(c, c, 3, padding=1)
        )

    def forward(self, x: torch.Tensor, previous: torch.Tensor | None = None) -> torch.Tensor:
        h = self.conv(x)
        if previous is not None:
            now, before = F.avg_pool2d(h, 4), F.avg_pool2d(previous, 4)
            sequence = self.temporal_processor(torch.cat([now.flatten(2), before.flatten(2)], 2))
            now_part, before_part = sequence.chunk(2, 2)
            mixed = (self.alpha * now_part + (1 - self.alpha) * before_part).view_as(now)
            h = h + 0.1 * F.interpolate(mixed, h.shape[2:], mode="bilinear", align_corners=False)
        return F.relu(h + x)


class Coder(nn.Module):
    """Encoder or decoder: the layers by number, blocks among them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class TemporalAutoencoder(nn.Module):
    """The tiny autoencoder with temporal processor modules, from its description in docs/parity.md."""

    def __init__(self, c: int) -> None:
        super().__init__()
        down = lambda: nn.Conv2d(c, c, 3, 2, 1, bias=False)  # noqa: E731
        up = lambda: (nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1, bias=False))  # noqa: E731
        three = lambda: [Block(c) for _ in range(3)]  # noqa: E731
        first, last = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, 4, 3, padding=1)
        self.encoder = Coder(first, Block(c), down(), *three(), down(), *three(), last)
        first, last = nn.Conv2d(4, c, 3, padding=1), nn.Conv2d(c, 3, 3, padding=1)
        self.decoder = Coder(first, nn.ReLU(), *three(), *up(), *three(), *up(), Block(c), last)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        x = (image + 1) / 2
        for layer in self.encoder.layers:
            x = layer(x)
        return x

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Block outputs for the image as it is, in [-1, 1]."""
        x, found = image, []
        for layer in self.encoder.layers:
            x = layer(x)
            found += [x] if isinstance(layer, Block) else []
        return found

    def decode(self, latents: torch.Tensor, features: list[torch.Tensor] | None = None) -> torch.Tensor:
        remaining = list(features or [])
        x = 3 * torch.tanh(latents / 3)
        for layer in self.decoder.layers:
            x = layer(x, remaining.pop()) if remaining and isinstance(layer, Block) else layer(x)
        return 2 * x - 1


def vae() -> TemporalAutoencoder:
    return load("vae", TemporalAutoencoder(cases.MODEL.vae.decoder_channels[0]))
