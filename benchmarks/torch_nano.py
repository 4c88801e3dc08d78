"""`nano`'s step in plain PyTorch, reading our prepared parameters: what the same graph costs there.

Written as a PyTorch user would: channels-last tensors (their fastest layout), library calls for every resampling,
one function per network.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.diffusion import step_coefficients


class State(NamedTuple):
    """What lasts from frame to frame."""

    prev_lr: Tensor
    prev_sr: Tensor
    features: list[Tensor]


def from_jax(tree: Any, device: str, dtype: torch.dtype) -> Any:
    """Our parameter tree with convolution kernels as PyTorch has them (OIHW)."""
    if isinstance(tree, dict):
        return {name: from_jax(value, device, dtype) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [from_jax(value, device, dtype) for value in tree]
    if tree is None:
        return None
    array = np.array(tree, np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array)
    layout = torch.channels_last if array.ndim == 4 else torch.contiguous_format
    return tensor.to(device, dtype).contiguous(memory_format=layout)


def conv(p: dict, x: Tensor, stride: int = 1) -> Tensor:
    kernel = p["kernel"]
    return F.conv2d(x, kernel, p.get("bias"), stride, kernel.shape[-1] // 2)


def norm(p: dict, x: Tensor) -> Tensor:
    scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6)
    return x * scale.to(x.dtype) * p["scale"][:, None, None]


def fold(x: Tensor, n: int) -> Tensor:
    """Space to depth in our channel order (row, column, channel)."""
    b, c, h, w = x.shape
    return x.view(b, c, h // n, n, w // n, n).permute(0, 3, 5, 1, 2, 4).reshape(b, n * n * c, h // n, w // n)


def unfold(x: Tensor, n: int) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, n, n, c // n**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // n**2, n * h, n * w)


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)


def bicubic(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    height, width = image.shape[2:]
    x = flow[:, 0] + torch.arange(width, device=flow.device)
    y = flow[:, 1] + torch.arange(height, device=flow.device)[:, None]
    unit = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return F.grid_sample(image, unit, "bilinear", "border", align_corners=True)


def flow_features(p: dict, lr: Tensor, levels: int) -> list[Tensor]:
    x, found = lr, []
    for i in range(levels):
        x = F.leaky_relu(conv(p[f"pyramid_{i}"], x, 2), 0.1)
        x = F.leaky_relu(conv(p[f"refine_{i}"], x), 0.1)
        found.append(x)
    return found


def rescale(flow: Tensor, height: int, width: int) -> Tensor:
    factor = torch.tensor([width / flow.shape[3], height / flow.shape[2]], device=flow.device)
    return bilinear(flow, height, width) * factor[:, None, None]


def flow_net(p: dict, lr: Tensor, features: list[Tensor], previous: list[Tensor]) -> Tensor:
    d = p["decoder"]
    flow = torch.zeros(lr.shape[0], 2, *features[-1].shape[2:], device=lr.device)
    for now, before in zip(features[::-1], previous[::-1]):
        flow = rescale(flow, *now.shape[2:])
        x = F.leaky_relu(conv(d["conv_0"], torch.cat([now, warp(before, flow), flow], 1)), 0.1)
        flow = flow + conv(d["conv_2"], F.leaky_relu(conv(d["conv_1"], x), 0.01))
    return rescale(flow, *lr.shape[2:])


def validity_of(lr: Tensor, prev_lr: Tensor, flow: Tensor, sigma: float) -> Tensor:
    error = F.pad((lr - warp(prev_lr, flow)).square().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    height, width = lr.shape[2:]
    x = flow[:, :1] + torch.arange(width, device=flow.device)
    y = flow[:, 1:] + torch.arange(height, device=flow.device)[:, None]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return torch.exp(-F.avg_pool2d(error, 3, 1) / sigma**2) * inside


def resnet(p: dict, x: Tensor, shift: Tensor) -> Tensor:
    h = conv(p["conv1"], F.silu(norm(p["norm1"], x))) + shift.view(1, -1, 1, 1)
    h = conv(p["conv2"], F.silu(norm(p["norm2"], h)))
    return h + (conv(p["conv_shortcut"], x) if "conv_shortcut" in p else x)


def encoder(p: dict, x: Tensor, time: dict, i: int) -> tuple[Tensor, list[Tensor]]:
    skips = [x]
    for level, shifts in enumerate(time["down"]):
        block = p[f"down_blocks_{level}"]
        for number, shift in enumerate(shifts):
            x = resnet(block[f"resnets_{number}"], x, shift[i])
            skips.append(x)
        if "downsamplers_0" in block:
            x = conv(block["downsamplers_0"]["conv"], x, 2)
            skips.append(x)
    mid = p["mid_block"]
    x = resnet(mid["resnets_0"], x, time["mid"][0][i])
    return resnet(mid["resnets_1"], x, time["mid"][1][i]), skips


def unet(p: dict, x: Tensor, time: dict, i: int, patch: int, residuals: tuple[list[Tensor], Tensor]) -> Tensor:
    x, skips = encoder(p, conv(p["conv_in"], fold(x, patch)), time, i)
    skips, x = [s + r for s, r in zip(skips, residuals[0])], x + residuals[1]
    for level, shifts in enumerate(time["up"]):
        block = p[f"up_blocks_{level}"]
        for number, shift in enumerate(shifts):
            x = resnet(block[f"resnets_{number}"], torch.cat([x, skips.pop()], 1), shift[i])
        if "upsamplers_0" in block:
            x = conv(block["upsamplers_0"]["conv"], F.interpolate(x, skips[-1].shape[2:]))
    return unfold(conv(p["conv_out"], F.silu(norm(p["conv_norm_out"], x))), patch)


def controlnet(
    p: dict, x: Tensor, condition: Tensor, time: dict, i: int, patch: int
) -> tuple[list[Tensor], Tensor]:
    mid, skips = encoder(p, conv(p["conv_in"], fold(x, patch)) + condition, time, i)
    residuals = [conv(p[f"controlnet_down_blocks_{n}"], skip) for n, skip in enumerate(skips)]
    return residuals, conv(p["controlnet_mid_block"], mid)


def block(p: dict, x: Tensor, previous: Tensor | None = None, validity: Tensor | None = None) -> Tensor:
    h = conv(p["conv_4"], F.relu(conv(p["conv_2"], F.relu(conv(p["conv_0"], x)))))
    if previous is not None:
        both = torch.cat([h, previous, validity.to(h.dtype)], 1)
        h = h + conv(p["temporal_processor_2"], F.relu(conv(p["temporal_processor_0"], both)))
    return F.relu(h + x)


def schedule(config: ModelConfig) -> list[tuple[float, ...]]:
    """DDIM coefficients of every step."""
    return [tuple(float(c) for c in row) for row in zip(*step_coefficients(config.diffusion))]


def step(
    p: dict, state: State, lr: Tensor, noise: Tensor, config: ModelConfig, coefficients: list[tuple[float, ...]]
) -> tuple[State, Tensor]:
    """One frame after the first: [1, 3, h, w] in [-1, 1] -> [1, 3, 4h, 4w]. The flow stays float32."""
    vae, patch, dtype = config.vae, config.unet.patch, p["unet"]["conv_in"]["kernel"].dtype
    assert isinstance(config.flow, FlowNetConfig)
    up = bicubic(lr, config.scale)
    features = flow_features(p["flow"], lr, config.flow.num_levels)
    flow = flow_net(p["flow"], lr, features, state.features)
    warped = warp(state.prev_sr, config.scale * bilinear(flow, *up.shape[2:]))
    validity = validity_of(lr, state.prev_lr, flow, config.history.consistency_sigma)
    validity = validity * (validity.mean() >= config.history.cut_validity)
    trust = bilinear(validity, *up.shape[2:])
    warped = trust * warped + (1 - trust) * up
    embedding = p["controlnet"]["controlnet_cond_embedding"]
    seen = fold(torch.cat([warped, trust], 1), config.guidance.condition_fold).to(dtype)
    condition = conv(embedding["conv_out"], F.silu(conv(embedding["conv_in"], seen)))
    x, x0, folded = noise, noise, p["folded"]
    for i, (a, s, next_a, next_s) in enumerate(coefficients):
        sample = torch.cat([x, lr], 1).to(dtype)
        residuals = controlnet(p["controlnet"], sample, condition, folded["controlnet"]["time"], i, patch)
        v = unet(p["unet"], sample, folded["unet"]["time"], i, patch, residuals).float()
        x0, eps = a * x - s * v, a * v + s * x
        x = next_a * x0 + next_s * eps
    code = p["vae"]["encoder"]
    y = conv(code["layers_0"], torch.cat([fold(warped - up, vae.encoder_fold), lr], 1).to(dtype))
    before = [y := block(code[f"layers_{n + 1}"], y) for n in range(vae.encoder_blocks[0])][::-1]
    sr = decode(p["vae"]["decoder"], x0, up, lr, before, validity, config)
    return State(lr, sr.clamp(-1, 1), features), sr


def decode(
    p: dict, latents: Tensor, up: Tensor, lr: Tensor, before: list[Tensor], validity: Tensor, config: ModelConfig
) -> Tensor:
    vae = config.vae
    x = vae.latent_magnitude * torch.tanh(latents / vae.scaling_factor / vae.latent_magnitude)
    x = torch.cat([x, lr], 1).to(p["layers_0"]["kernel"].dtype)
    x = F.relu(conv(p["layers_0"], x))
    for n in range(vae.decoder_blocks[0]):
        x = block(p[f"layers_{n + 2}"], x, *((before[n], validity) if n < len(before) else ()))
    image = up + unfold(conv(p[f"layers_{vae.decoder_blocks[0] + 2}"], x).float(), vae.decoder_fold)
    small = F.interpolate(image, lr.shape[2:], mode="bicubic", align_corners=False, antialias=True)
    return image + bicubic(lr - small, config.scale)
