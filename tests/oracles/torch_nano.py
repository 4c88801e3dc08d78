"""`nano`'s step in PyTorch, on the same prepared weights: the graph that our CPU time
is held against.

Written for speed as a PyTorch user would: NCHW with channels-last memory, library
resampling, no training parts. Only the form of the shipped model is served (residual
autoencoder, spatial TPM, RMS norm, our flow network).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdvsr_jax import diffusion
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.models.flow.flownet import REFINED_SCALE, WINDOW_SIGMA
from sdvsr_jax.ops.lucas_kanade import MAX_CORRECTION, gaussian_taps
from sdvsr_jax.types import Params, Prepared

Weights = Any
"""The parameter tree with tensors as leaves, kernels OIHW."""

Coefficients = list[tuple[float, float, float, float]]
"""alpha, sigma and the next two of every sampling step."""


class TorchState(NamedTuple):
    """The state of `step`; None in the first frame."""

    lr: Tensor
    sr: Tensor
    features: list[Tensor]


def weights(
    params: Params | Prepared, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Weights:
    """Prepared JAX parameters as tensors; lists and tuples stay."""
    if isinstance(params, Prepared):
        params = {**params.params, "time_shifts": params.time_shifts._asdict()}
    if isinstance(params, dict):
        tree = {}
        for name, value in params.items():
            # what `prepare` has turned for a GPU is turned back
            if name.endswith("_ohwi"):
                value = value.transpose(1, 2, 3, 0)
            tree[name.removesuffix("_ohwi")] = weights(value, device, dtype)
        return tree
    if isinstance(params, list | tuple):
        return [weights(value, device, dtype) for value in params]
    array = np.array(params, np.float32)
    is_kernel = array.ndim == 4
    if is_kernel:
        array = array.transpose(3, 2, 0, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    tensor = tensor.to(device, dtype)
    if is_kernel:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def coefficients_of(config: ModelConfig) -> Coefficients:
    """Made outside of `step`, which a compiler of PyTorch code could not follow into
    JAX.
    """
    columns = diffusion.step_coefficients(config.diffusion)
    numbers = [np.asarray(values).tolist() for values in columns]
    return list(zip(*numbers))


def step(
    w: Weights,
    state: TorchState | None,
    lr: Tensor,
    noise: Tensor,
    coefficients: Coefficients,
    config: ModelConfig,
) -> tuple[TorchState, Tensor]:
    """One frame: lr [b, 3, h, w] in [-1, 1], its sides divisible by `size_multiple` ->
    SR [b, 3, 4h, 4w].
    """
    up = F.interpolate(lr, scale_factor=config.scale, mode="bicubic")
    assert isinstance(config.flow, FlowNetConfig)
    features = _flow_features(w["flow"], lr, config.flow)
    warped = up
    validity = torch.zeros_like(lr[:, :1])
    if state is not None:
        warped, validity = _align(w["flow"], state, features, lr, up, config)
    latents = _denoise(w, noise, lr, warped, validity, coefficients, config)
    sr = _decode(w["vae"], latents, lr, up, warped, validity, config)
    return TorchState(lr, sr.clamp(-1, 1), features), sr


def _conv(w: Weights, x: Tensor, stride: int = 1) -> Tensor:
    kernel = w["kernel"]
    padding = kernel.shape[-1] // 2
    return F.conv2d(x, kernel, w.get("bias"), stride, padding)


def _numbered(w: Weights, name: str) -> list[Weights]:
    keys = [key for key in w if key.startswith(f"{name}_")]
    # By number: as text, layer 10 would stand before layer 2.
    keys.sort(key=lambda key: int(key.rsplit("_", 1)[1]))
    return [w[key] for key in keys]


def _fold(x: Tensor, factor: int) -> Tensor:
    """Channels in the order (row, column, channel), which is not that of
    pixel_unshuffle.
    """
    b, c, height, width = x.shape
    h = height // factor
    w = width // factor
    cells = x.reshape(b, c, h, factor, w, factor)
    channels_first = cells.permute(0, 3, 5, 1, 2, 4)
    return channels_first.reshape(b, c * factor**2, h, w)


def _unfold(x: Tensor, factor: int) -> Tensor:
    b, channels, h, w = x.shape
    c = channels // factor**2
    cells = x.reshape(b, factor, factor, c, h, w)
    rows_and_columns = cells.permute(0, 3, 4, 1, 5, 2)
    return rows_and_columns.reshape(b, c, h * factor, w * factor)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


def _grid(flow: Tensor) -> tuple[Tensor, Tensor]:
    h, w = flow.shape[2:]
    y = torch.arange(h, device=flow.device)[:, None]
    x = torch.arange(w, device=flow.device)
    return x + flow[:, 0], y + flow[:, 1]


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    h, w = image.shape[2:]
    x, y = _grid(flow)
    across = 2 * x / (w - 1) - 1
    down = 2 * y / (h - 1) - 1
    unit = torch.stack([across, down], -1).to(image.dtype)
    return F.grid_sample(image, unit, "bilinear", "border", align_corners=True)


def _flow_features(w: Weights, lr: Tensor, config: FlowNetConfig) -> list[Tensor]:
    x = lr
    levels = []
    layers = zip(_numbered(w, "pyramid"), _numbered(w, "refine"))
    for down, refine in layers:
        x = F.leaky_relu(_conv(down, x, 2), 0.1)
        x = F.leaky_relu(_conv(refine, x), 0.1)
        levels.append(x)
    if config.refinements:
        grey = lr.mean(1, keepdim=True)
        large = F.interpolate(grey, scale_factor=REFINED_SCALE, mode="bicubic")
        levels.append(large)
    return levels


def _rescale(flow: Tensor, like: Tensor) -> Tensor:
    h, w = flow.shape[2:]
    new_h, new_w = like.shape[2:]
    factors = [new_w / w, new_h / h]
    factor = torch.tensor(factors, device=flow.device, dtype=flow.dtype)
    return _resize(flow, like) * factor[:, None, None]


def _flow(
    w: Weights,
    lr: Tensor,
    features: list[Tensor],
    previous: list[Tensor],
    config: FlowNetConfig,
) -> Tensor:
    levels = config.num_levels
    decoder = w["decoder"]
    last = features[levels - 1]
    batch, _, h, w = last.shape
    flow = last.new_zeros(batch, 2, h, w)
    # from the coarsest level on
    for level in reversed(range(levels)):
        now = features[level]
        before = previous[level]
        flow = _rescale(flow, now)
        x = torch.cat([now, _warp(before, flow), flow], 1)
        for name in ("conv_0", "conv_1"):
            x = F.leaky_relu(_conv(decoder[name], x), 0.1)
        flow = flow + _conv(decoder["conv_2"], x)
    if not config.refinements:
        return _rescale(flow, lr)
    image = features[-1]
    start = _rescale(flow, image)
    refined = _refine(image, previous[-1], start, config.refinements)
    return F.avg_pool2d(refined, REFINED_SCALE) / REFINED_SCALE


def _refine(
    image: Tensor, other: Tensor, flow: Tensor, num_iterations: int, ridge: float = 3e-4
) -> Tensor:
    """As lucas_kanade.refine_flow."""
    dy, dx = torch.gradient(image, dim=(2, 3))
    products = torch.cat([dx * dx, dx * dy, dy * dy], 1)
    xx, xy, yy = _blur(products, WINDOW_SIGMA).split(1, 1)
    xx = xx + ridge
    yy = yy + ridge
    determinant = xx * yy - xy * xy
    correction = torch.zeros_like(flow)
    for _ in range(num_iterations):
        dt = _warp(other, flow + correction) - image
        products = torch.cat([dx * dt, dy * dt], 1)
        xt, yt = _blur(products, WINDOW_SIGMA).split(1, 1)
        numerators = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], 1)
        step = numerators / determinant
        correction = correction + step.clamp(-1, 1)
        correction = correction.clamp(-MAX_CORRECTION, MAX_CORRECTION)
    return _blur(flow + correction, 1.0)


def _blur(x: Tensor, sigma: float) -> Tensor:
    taps = torch.as_tensor(gaussian_taps(sigma), dtype=x.dtype, device=x.device)
    for kernel in (taps[None, None, :, None], taps[None, None, None, :]):
        same = [size // 2 for size in kernel.shape[2:]]
        # at the border the taps inside it count alone
        weight = F.conv2d(torch.ones_like(x[:1, :1]), kernel, padding=same)
        images = x.flatten(0, 1)[:, None]
        total = F.conv2d(images, kernel, padding=same)
        x = total.reshape(x.shape) / weight
    return x


def _align(
    w: Weights,
    state: TorchState,
    features: list[Tensor],
    lr: Tensor,
    up: Tensor,
    config: ModelConfig,
) -> tuple[Tensor, Tensor]:
    """Warped previous SR frame and its validity, as history.align."""
    flow = _flow(w, lr, features, state.features, config.flow)
    difference = lr - _warp(state.lr, flow)
    error = difference.square().mean(1, keepdim=True)
    padded = F.pad(error, (1, 1, 1, 1), mode="replicate")
    local = F.avg_pool2d(padded, 3, 1)
    x, y = _grid(flow)
    h, width = flow.shape[2:]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= h - 0.5)
    validity = torch.exp(-local / config.history.consistency_sigma**2) * inside[:, None]
    mean = validity.mean((1, 2, 3), keepdim=True)
    is_same_scene = mean >= config.history.cut_validity
    validity = torch.where(is_same_scene, validity, torch.zeros_like(validity))
    trust = _resize(validity, up)
    warped = _warp(state.sr, config.scale * _resize(flow, up))
    return trust * warped + (1 - trust) * up, validity


def _rms(w: Weights, x: Tensor) -> Tensor:
    power = x.square().mean(1, keepdim=True)
    scale = w["scale"][:, None, None]
    return x * torch.rsqrt(power + 1e-6) * scale


def _shifts(w: Weights, time: Tensor) -> Iterator[Tensor]:
    """One per ResNet in the order of their calls, the bias of its first convolution in
    it.
    """
    blocks = [*_numbered(w, "down_blocks"), w["mid_block"], *_numbered(w, "up_blocks")]
    channels = []
    for block in blocks:
        for resnet in _numbered(block, "resnets"):
            kernel = resnet["conv1"]["kernel"]
            channels.append(kernel.shape[0])
    return iter(time.split(channels, -1))


def _resnet(w: Weights, x: Tensor, shift: Tensor) -> Tensor:
    # its bias is in the shift
    first = {"kernel": w["conv1"]["kernel"]}
    h = F.silu(_rms(w["norm1"], x))
    h = _conv(first, h) + shift[..., None, None]
    h = F.silu(_rms(w["norm2"], h))
    h = _conv(w["conv2"], h)
    shortcut = _conv(w["conv_shortcut"], x) if "conv_shortcut" in w else x
    return h + shortcut


def _encode(
    w: Weights, x: Tensor, shifts: Iterator[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    skips = [x]
    for block in _numbered(w, "down_blocks"):
        for resnet in _numbered(block, "resnets"):
            x = _resnet(resnet, x, next(shifts))
            skips.append(x)
        for down in _numbered(block, "downsamplers"):
            x = _conv(down["conv"], x, 2)
            skips.append(x)
    for resnet in _numbered(w["mid_block"], "resnets"):
        x = _resnet(resnet, x, next(shifts))
    return x, skips


def _unet(
    w: Weights,
    x: Tensor,
    time: Tensor,
    residuals: tuple[list[Tensor], Tensor],
    patch: int,
) -> Tensor:
    shifts = _shifts(w, time)
    of_skips, of_middle = residuals
    first = _conv(w["conv_in"], _fold(x, patch))
    x, skips = _encode(w, first, shifts)
    skips = [skip + residual for skip, residual in zip(skips, of_skips)]
    x = x + of_middle
    for block in _numbered(w, "up_blocks"):
        for resnet in _numbered(block, "resnets"):
            both = torch.cat([x, skips.pop()], 1)
            x = _resnet(resnet, both, next(shifts))
        for upsampler in _numbered(block, "upsamplers"):
            size = skips[-1].shape[2:]
            large = F.interpolate(x, size, mode="nearest")
            x = _conv(upsampler["conv"], large)
    x = F.silu(_rms(w["conv_norm_out"], x))
    return _unfold(_conv(w["conv_out"], x), patch)


def _guide(
    w: Weights, x: Tensor, condition: Tensor, time: Tensor, patch: int
) -> tuple[list[Tensor], Tensor]:
    first = _conv(w["conv_in"], _fold(x, patch))
    middle, skips = _encode(w, first + condition, _shifts(w, time))
    layers = _numbered(w, "controlnet_down_blocks")
    of_skips = [_conv(layer, skip) for layer, skip in zip(layers, skips)]
    return of_skips, _conv(w["controlnet_mid_block"], middle)


def _denoise(
    w: Weights,
    noise: Tensor,
    lr: Tensor,
    warped: Tensor,
    validity: Tensor,
    coefficients: Coefficients,
    config: ModelConfig,
) -> Tensor:
    embedding = w["controlnet"]["controlnet_cond_embedding"]
    patch = config.unet.patch
    trust = _resize(validity, warped)
    picture = torch.cat([warped, trust], 1)
    cells = _fold(picture, config.guidance.condition_fold)
    condition = F.silu(_conv(embedding["conv_in"], cells))
    condition = _conv(embedding["conv_out"], condition)
    shifts = w["time_shifts"]
    x = x0 = noise
    for index, (alpha, sigma, next_alpha, next_sigma) in enumerate(coefficients):
        sample = torch.cat([x, lr], 1)
        time = shifts["controlnet"][index]
        residuals = _guide(w["controlnet"], sample, condition, time, patch)
        v = _unet(w["unet"], sample, shifts["unet"][index], residuals, patch)
        x0 = alpha * x - sigma * v
        x = next_alpha * x0 + next_sigma * (alpha * v + sigma * x)
    return x if config.quirks.decode_last_sample else x0


def _block(w: Weights, x: Tensor, previous: Tensor | None, validity: Tensor) -> Tensor:
    h = F.relu(_conv(w["conv_0"], x))
    h = F.relu(_conv(w["conv_2"], h))
    h = _conv(w["conv_4"], h)
    if previous is not None:
        both = torch.cat([h, previous, validity], 1)
        mixture = F.relu(_conv(w["temporal_processor_0"], both))
        h = h + _conv(w["temporal_processor_2"], mixture)
    return F.relu(h + x)


def _decode(
    w: Weights,
    latents: Tensor,
    lr: Tensor,
    up: Tensor,
    warped: Tensor,
    validity: Tensor,
    config: ModelConfig,
) -> Tensor:
    c = config.vae
    encoder = _numbered(w["encoder"], "layers")
    decoder = _numbered(w["decoder"], "layers")
    cells = _fold(warped - up, c.encoder_fold)
    x = _conv(encoder[0], torch.cat([cells, lr], 1))
    features = []
    # the last layer makes latents, which only training needs
    for layer in encoder[1:-1]:
        x = _block(layer, x, None, validity)
        features.append(x)
    magnitude = c.latent_magnitude
    x = torch.tanh(latents / c.scaling_factor / magnitude) * magnitude
    x = F.relu(_conv(decoder[0], torch.cat([x, lr], 1)))
    for layer in decoder[1:-1]:
        previous = features.pop() if features else None
        x = _block(layer, x, previous, validity)
    image = up + _unfold(_conv(decoder[-1], x), c.decoder_fold)
    # back-projection towards the frame that came in
    small = F.interpolate(image, lr.shape[2:], mode="bicubic", antialias=True)
    error = F.interpolate(lr - small, scale_factor=config.scale, mode="bicubic")
    return image + error
