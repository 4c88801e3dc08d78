"""The published model in PyTorch: networks from diffusers and torchvision, the
autoencoder and the loop restated.

The parity tests hold it against our model; the benchmark times it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdvsr_jax.config import DiffusionConfig, ModelConfig, RAFTConfig
from sdvsr_jax.types import Params
from sdvsr_jax.weights.diffusers_layout import diffusers_config
from sdvsr_jax.weights.torch_names import to_torch


class Networks(NamedTuple):
    """One frame's networks and the embedding of the empty prompt."""

    unet: nn.Module
    controlnet: nn.Module
    vae: "TemporalAutoencoder"
    raft: nn.Module
    text: Tensor


def networks(
    config: ModelConfig,
    params: Params,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Networks:
    """All networks with our raw parameters. Flow stays float32, as in our model;
    convolutions are channels-last.
    """
    ready = {}
    with torch.device("meta"):
        modules = {
            "unet": unet(config),
            "controlnet": controlnet(config),
            "vae": TemporalAutoencoder(config),
            "flow": raft(config.flow),
        }
    for name, module in modules.items():
        arrays = to_torch(params[name])
        state = {key: torch.from_numpy(value) for key, value in arrays.items()}
        counters = {
            key: torch.zeros((), dtype=torch.long)
            for key in module.state_dict()
            if key.endswith("_tracked")
        }
        module.load_state_dict(state | counters, assign=True)
        kind = torch.float32 if name == "flow" else dtype
        module = module.to(device, kind).eval().requires_grad_(False)
        ready[name] = module.to(memory_format=torch.channels_last)
    embeds = np.array(params["prompt_embeds"])
    text = torch.from_numpy(embeds).to(device, dtype)
    return Networks(
        ready["unet"],
        ready["controlnet"],
        ready["vae"],
        ready["flow"],
        text,
    )


def unet(config: ModelConfig) -> nn.Module:
    """Without weights."""
    from diffusers import UNet2DConditionModel

    return _build(UNet2DConditionModel, "unet", config)


def controlnet(config: ModelConfig) -> nn.Module:
    """Without weights."""
    from diffusers import ControlNetModel

    return _build(ControlNetModel, "controlnet", config)


def _build(kind: Any, name: str, config: ModelConfig) -> nn.Module:
    settings = diffusers_config(name, config)
    # those with an underscore name the class and the version
    arguments = {
        key: value for key, value in settings.items() if not key.startswith("_")
    }
    return kind(**arguments)


def raft(config: Any) -> nn.Module:
    """RAFT-large with all widths scaled as in our config, without weights."""
    from torchvision.models.optical_flow import raft as tv

    assert isinstance(config, RAFTConfig)
    c = config.channels
    layers = (c, c, c * 3 // 2, c * 2, c * 4)
    block = tv.UpdateBlock(
        motion_encoder=tv.MotionEncoder(
            in_channels_corr=324,
            corr_layers=(4 * c, 3 * c),
            flow_layers=(2 * c, c),
            out_channels=2 * c,
        ),
        recurrent_block=tv.RecurrentBlock(
            input_size=4 * c,
            hidden_size=2 * c,
            kernel_size=((1, 5), (5, 1)),
            padding=((0, 2), (2, 0)),
        ),
        flow_head=tv.FlowHead(in_channels=2 * c, hidden_size=4 * c),
    )
    encoders = [
        tv.FeatureEncoder(block=tv.ResidualBlock, layers=layers, norm_layer=norm)
        for norm in (nn.InstanceNorm2d, nn.BatchNorm2d)
    ]
    mask = tv.MaskPredictor(in_channels=2 * c, hidden_size=4 * c, multiplier=0.25)
    correlation = tv.CorrBlock(num_levels=4, radius=4)
    return tv.RAFT(
        feature_encoder=encoders[0],
        context_encoder=encoders[1],
        corr_block=correlation,
        update_block=block,
        mask_predictor=mask,
    )


class Block(nn.Module):
    """Block of the temporal autoencoder; `previous` are features of the warped previous
    frame.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=1),
        )
        self.alpha = nn.Parameter(torch.zeros(()))
        self.temporal_processor = nn.Sequential(
            nn.Conv1d(c, c, 3, padding=1), nn.ReLU(), nn.Conv1d(c, c, 3, padding=1)
        )

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        h = self.conv(x)
        if previous is not None:
            now = F.avg_pool2d(h, 4)
            before = F.avg_pool2d(previous, 4)
            # one sequence of all pixels of both frames
            pixels = torch.cat([now.flatten(2), before.flatten(2)], 2)
            now_part, before_part = self.temporal_processor(pixels).chunk(2, 2)
            mixture = self.alpha * now_part + (1 - self.alpha) * before_part
            small = mixture.view(now.shape)
            large = F.interpolate(
                small, h.shape[2:], mode="bilinear", align_corners=False
            )
            h = h + 0.1 * large
        return F.relu(h + x)


class Coder(nn.Module):
    """Encoder or decoder: the layers by number, blocks among them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class TemporalAutoencoder(nn.Module):
    """The tiny autoencoder with temporal processor modules, from its description in
    docs/parity.md.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.vae.decoder_channels[0]

        def down():
            return nn.Conv2d(c, c, 3, 2, 1, bias=False)

        def up():
            return (
                nn.Upsample(scale_factor=2),
                nn.Conv2d(c, c, 3, padding=1, bias=False),
            )

        def three():
            return [Block(c) for _ in range(3)]

        first, last = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, 4, 3, padding=1)
        self.encoder = Coder(first, Block(c), down(), *three(), down(), *three(), last)
        first, last = nn.Conv2d(4, c, 3, padding=1), nn.Conv2d(c, 3, 3, padding=1)
        self.decoder = Coder(
            first, nn.ReLU(), *three(), *up(), *three(), *up(), Block(c), last
        )

    def encode(self, image: Tensor) -> Tensor:
        x = (image + 1) / 2
        for layer in self.encoder.layers:
            x = layer(x)
        return x

    def features(self, image: Tensor) -> list[Tensor]:
        """Block outputs for the image as it is, in [-1, 1]; the last convolution of the
        encoder is not needed.
        """
        x = image
        outputs = []
        for layer in self.encoder.layers[:-1]:
            x = layer(x)
            if isinstance(layer, Block):
                outputs.append(x)
        return outputs

    def decode(self, latents: Tensor, features: list[Tensor] | None = None) -> Tensor:
        remaining = list(features or [])
        x = 3 * torch.tanh(latents / 3)
        for layer in self.decoder.layers:
            # the last features first
            if remaining and isinstance(layer, Block):
                x = layer(x, remaining.pop())
            else:
                x = layer(x)
        return 2 * x - 1


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """flow [b, h, w, 2]. Positions divided by W - 1 and H - 1, but sampled as if by W
    and H: the published form.
    """
    height, width = flow.shape[1:3]
    axes = (torch.arange(size, device=flow.device) for size in (height, width))
    y, x = torch.meshgrid(*axes, indexing="ij")
    position = torch.stack([x, y], -1) + flow
    last = torch.tensor([width - 1.0, height - 1.0], device=flow.device)
    unit = 2 * position / last - 1
    # 16 bits are not enough for positions of hundreds of pixels
    exact = image.float()
    out = F.grid_sample(exact, unit, "bilinear", "zeros", align_corners=False)
    return out.to(image.dtype)


def bicubic(image: Tensor) -> Tensor:
    """Four times larger."""
    return F.interpolate(image, scale_factor=4, mode="bicubic", align_corners=False)


def scheduler(config: DiffusionConfig) -> Any:
    """diffusers' DDIM with the published settings."""
    from diffusers import DDIMScheduler

    ddim = DDIMScheduler(
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        set_alpha_to_one=False,
        clip_sample=False,
    )
    ddim.set_timesteps(config.num_steps)
    return ddim


def frame(
    nets: Networks,
    config: ModelConfig,
    lr: Tensor,
    noise: Tensor,
    prev_up: Tensor | None,
    prev_sr: Tensor | None,
) -> Mapping[str, Any]:
    """The published loop for one frame, [b, c, h, w] in the networks' type; everything
    on the way out.
    """
    assert isinstance(config.flow, RAFTConfig)
    up = bicubic(lr)
    ddim = scheduler(config.diffusion)
    flow = torch.zeros(1, 2, *up.shape[2:])
    warped = None
    if prev_sr is not None and prev_up is not None:
        num_updates = config.flow.num_updates
        # after every update; the last one counts
        *_, flow = nets.raft(up.float(), prev_up.float(), num_flow_updates=num_updates)
        warped = warp(prev_sr, flow.permute(0, 2, 3, 1))
    x = noise
    velocities = []
    for timestep in ddim.timesteps:
        sample = torch.cat([x.to(lr.dtype), lr], 1)
        residuals = {}
        if warped is not None:
            down, middle = nets.controlnet(
                sample, timestep, nets.text, controlnet_cond=warped, return_dict=False
            )
            residuals = {
                "down_block_additional_residuals": down,
                "mid_block_additional_residual": middle,
            }
        (v,) = nets.unet(sample, timestep, nets.text, return_dict=False, **residuals)
        velocities.append(v)
        x = ddim.step(v, timestep, x).prev_sample
    features = None if warped is None else nets.vae.features(warped)
    decoded = nets.vae.decode(x.to(lr.dtype), features)
    return {
        "bicubic": up,
        "flow": flow,
        "warped": torch.zeros_like(up) if warped is None else warped,
        "v": torch.cat(velocities)[None],
        "latents": x,
        "decoded": decoded,
    }
