"""The published model from PyPI libraries: diffusers' U-Net, ControlNet and DDIM, torchvision's RAFT.

The temporal autoencoder exists in no library; it is written here from its description in docs/parity.md. The tests
of parity use the same classes.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdvsr_jax.config import ModelConfig, RAFTConfig
from sdvsr_jax.convert import to_torch
from sdvsr_jax.published import diffusers_config, scheduler_config
from sdvsr_jax.types import Params


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

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
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
    """The tiny autoencoder with temporal processor modules; all stages have c channels."""

    def __init__(self, c: int, encoder: tuple[int, ...] = (1, 3, 3), decoder: tuple[int, ...] = (3, 3, 1)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, c, 3, padding=1)]
        for stage, count in enumerate(encoder):
            layers += [nn.Conv2d(c, c, 3, 2, 1, bias=False)] if stage else []
            layers += [Block(c) for _ in range(count)]
        self.encoder = Coder(*layers, nn.Conv2d(c, 4, 3, padding=1))
        layers = [nn.Conv2d(4, c, 3, padding=1), nn.ReLU()]
        for stage, count in enumerate(decoder):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(c, c, 3, padding=1, bias=False)] if stage else []
            layers += [Block(c) for _ in range(count)]
        self.decoder = Coder(*layers, nn.Conv2d(c, 3, 3, padding=1))

    def encode(self, image: Tensor) -> Tensor:
        x = (image + 1) / 2
        for layer in self.encoder.layers:
            x = layer(x)
        return x

    def features(self, image: Tensor) -> list[Tensor]:
        """Block outputs for the image as it is, in [-1, 1]."""
        x, found = image, []
        for layer in self.encoder.layers:
            x = layer(x)
            found += [x] if isinstance(layer, Block) else []
        return found

    def decode(self, latents: Tensor, features: list[Tensor] | None = None) -> Tensor:
        remaining = list(features or [])
        x = 3 * torch.tanh(latents / 3)
        for layer in self.decoder.layers:
            x = layer(x, remaining.pop()) if remaining and isinstance(layer, Block) else layer(x)
        return 2 * x - 1


def raft(config: RAFTConfig) -> nn.Module:
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
    return tv.RAFT(feature_encoder=encoders[0], context_encoder=encoders[1],
                   corr_block=tv.CorrBlock(num_levels=4, radius=4), update_block=block,
                   mask_predictor=mask)  # fmt: skip


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Positions divided by W - 1 and H - 1, but sampled as if by W and H: the published form; flow [b, H, W, 2]."""
    height, width = flow.shape[1:3]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack([x, y], -1).to(flow) + flow
    unit = 2 * position / torch.tensor([width - 1.0, height - 1.0]).to(flow) - 1
    return F.grid_sample(image, unit, "bilinear", "zeros", align_corners=False)


def bicubic(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=4, mode="bicubic", align_corners=False)


class Networks(NamedTuple):
    """The modules, which `torch.compile` may have wrapped, and the text embedding of the empty prompt."""

    unet: Any
    controlnet: Any
    vae: TemporalAutoencoder
    raft: Any
    text: Tensor


def networks(config: ModelConfig, params: Params, device: str, dtype: torch.dtype) -> Networks:
    """Our parameters in the libraries' modules; RAFT stays float32, as published."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    def settings(name: str) -> dict[str, Any]:
        return {k: v for k, v in diffusers_config(name, config).items() if not k.startswith("_")}

    modules = {
        "unet": UNet2DConditionModel(**settings("unet")),
        "controlnet": ControlNetModel(**settings("controlnet")),
        "vae": TemporalAutoencoder(
            config.vae.decoder_channels[0], config.vae.encoder_blocks, config.vae.decoder_blocks
        ),
        "flow": raft(config.flow),
    }
    for name, module in modules.items():
        state = module.state_dict()
        ours = {key: torch.from_numpy(np.array(value)) for key, value in to_torch(params[name]).items()}
        state |= {key: value.view_as(state[key]) for key, value in ours.items()}
        module.load_state_dict(state)
        module.eval().requires_grad_(False).to(device, torch.float32 if name == "flow" else dtype)
    text = torch.from_numpy(np.array(params["prompt_embeds"])).to(device, dtype)
    return Networks(modules["unet"], modules["controlnet"], modules["vae"], modules["flow"], text)


class Pipeline:
    """The published loop over frames after the first: everything on the device, latents and flow in float32."""

    def __init__(self, nets: Networks, config: ModelConfig) -> None:
        from diffusers import DDIMScheduler

        self.nets = nets
        settings = {k: v for k, v in scheduler_config(config).items() if not k.startswith("_")}
        self.scheduler = DDIMScheduler(**settings)
        self.num_steps, self.num_updates = config.diffusion.num_steps, config.flow.num_updates

    @torch.no_grad()
    def frame(self, lr: Tensor, noise: Tensor, prev_lr: Tensor, prev_sr: Tensor) -> Tensor:
        """The SR frame, float32, NCHW like all arguments."""
        nets, dtype = self.nets, self.nets.text.dtype
        flow = nets.raft(bicubic(lr), bicubic(prev_lr), num_flow_updates=self.num_updates)[-1]
        warped = warp(prev_sr, flow.permute(0, 2, 3, 1))
        self.scheduler.set_timesteps(self.num_steps)
        x = noise
        for timestep in self.scheduler.timesteps:
            sample = torch.cat([x, lr], 1).to(dtype)
            down, mid = nets.controlnet(
                sample, timestep, nets.text, controlnet_cond=warped.to(dtype), return_dict=False
            )
            v = nets.unet(sample, timestep, nets.text, down_block_additional_residuals=down,
                          mid_block_additional_residual=mid).sample  # fmt: skip
            x = self.scheduler.step(v.float(), timestep, x).prev_sample
        return nets.vae.decode(x.to(dtype), nets.vae.features(warped.to(dtype))).float()
