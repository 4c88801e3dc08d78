"""The small model and the inputs of every parity case, shared by JAX, PyTorch and the
stored fixtures.

Images and features are NHWC on both sides of a comparison; sizes are chosen so that
some do not divide by 8.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from seeded import image, state_dict, uniform

from sdvsr_jax.config import (
    GuidanceConfig,
    ModelConfig,
    RAFTConfig,
    UNetConfig,
    VAEConfig,
    stream_diffvsr,
)
from sdvsr_jax.models.text import (
    EMPTY_PROMPT,
    TextConfig,
    TextEncoder,
    empty_prompt_embeds,
)
from sdvsr_jax.networks import init_params
from sdvsr_jax.types import Params
from sdvsr_jax.weights.torch_names import from_torch, torch_key, torch_shape

TEXT = TextConfig(
    hidden_size=24,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    vocab_size=49408,
)
MODEL = dataclasses.replace(
    stream_diffvsr(),
    name="small",
    unet=UNetConfig(
        block_channels=(16, 24, 32, 48),
        num_heads=4,
        text_channels=TEXT.hidden_size,
        num_groups=8,
    ),
    guidance=GuidanceConfig(condition_channels=(8, 12, 20)),
    vae=VAEConfig(encoder_channels=(12, 12, 12), decoder_channels=(12, 12, 12)),
    flow=RAFTConfig(channels=16),
)
RAFT_LARGE = RAFTConfig()
Arrays = dict[str, np.ndarray]


def params(config: ModelConfig = MODEL) -> Params:
    """Seeded parameters of all networks; the prompt's embedding comes from the seeded
    text encoder.
    """
    target = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
    params = {
        name: seeded_params(name, tree)
        for name, tree in target.items()
        if name != "prompt_embeds"
    }
    embeds = empty_prompt_embeds(text_params(), TEXT)
    params["prompt_embeds"] = np.asarray(embeds)
    return params


def text_params() -> Params:
    ids = jax.ShapeDtypeStruct(EMPTY_PROMPT.shape, EMPTY_PROMPT.dtype)
    encoder = TextEncoder(TEXT)
    target = jax.eval_shape(encoder.init, jax.random.key(0), ids)
    return seeded_params("text_encoder", target["params"])


def seeded_params(part: str, target: Params) -> Params:
    """Parameters shaped like `target`, converted from the state dict that PyTorch gets
    for the same names.
    """
    leaves = flatten_dict(target)
    shapes = {
        torch_key(path): torch_shape(path, leaf.shape) for path, leaf in leaves.items()
    }
    state = state_dict(part, shapes)
    return from_torch(state, target, part)


def unet(
    batch: int, height: int, width: int, timesteps: list[int], residuals: bool
) -> Arrays:
    name = f"unet{height}"
    inputs = {
        "latents": uniform(name + "x", (batch, height, width, 4)),
        "image": image(name + "i", batch, height, width, 3),
        "timesteps": np.array(timesteps, np.int32),
        "text": uniform(name + "t", (batch, 77, TEXT.hidden_size)),
    }
    if residuals:
        # odd sides are halved upwards
        sizes = [(math.ceil(height / 2**k), math.ceil(width / 2**k)) for k in range(4)]
        # of every level its ResNets and its downsampler, which has the next one's size
        skips = (
            [(16, 0)] * 3
            + [(16, 1)]
            + [(24, 1)] * 2
            + [(24, 2)]
            + [(32, 2)] * 2
            + [(32, 3)]
            + [(48, 3)] * 2
        )
        for i, (channels, level) in enumerate(skips):
            shape = (batch, *sizes[level], channels)
            inputs[f"down_{i:02d}"] = 0.3 * uniform(f"{name}r{i}", shape)
        shape = (batch, *sizes[3], 48)
        inputs["mid"] = 0.3 * uniform(name + "m", shape)
    return inputs


def controlnet() -> Arrays:
    inputs = unet(2, 18, 26, [999, 499], residuals=False)
    return inputs | {"condition": image("condition", 2, 72, 104, 3)}


def vae(height: int, width: int) -> Arrays:
    return {
        "image": image(f"vae{height}", 1, height, width, 3),
        "previous": image(f"prev{height}", 1, height, width, 3),
        "latents": uniform(f"latents{height}", (1, height // 4, width // 4, 4)) * 1.5,
    }


def raft() -> Arrays:
    frames = image("raft", 2, 128, 136, 3)
    # an eighth of the frame, some places of it beyond its borders
    axes = np.meshgrid(np.arange(17), np.arange(16))
    grid = np.stack(axes, -1)[None].astype(np.float32)
    coords = grid + 6 * uniform("coords", grid.shape)
    return {"image": frames[1:], "previous": frames[:1], "coords": coords}


def warp() -> Arrays:
    shape = (2, 20, 28, 2)
    return {
        "image": image("warp", 2, 20, 28, 3),
        "zero": np.zeros(shape, np.float32),
        "small": 1.0 * uniform("small", shape),
        "large": 12.0 * uniform("large", shape),
        # far beyond the frame
        "huge": 900.0 * uniform("huge", shape),
    }


def text() -> Arrays:
    other = np.arange(77, dtype=np.int32)[None] * 613 % TEXT.vocab_size
    return {"ids": np.concatenate([EMPTY_PROMPT, other])}


def ddim() -> Arrays:
    return {"x": uniform("ddim", (1, 8, 8, 4)), "v": uniform("ddim v", (4, 1, 8, 8, 4))}


def pipeline() -> Arrays:
    return {
        "lr": image("pipeline", 3, 32, 36, 3),
        "noise": uniform("noise", (3, 32, 36, 4)),
    }


CASES: dict[str, Callable[[], Arrays]] = {
    "text": text,
    "unet": lambda: unet(1, 16, 24, [999], residuals=False),
    "unet_odd": lambda: unet(2, 18, 26, [749, 249], residuals=True),
    "controlnet": controlnet,
    "vae": lambda: vae(48, 80),
    "vae_odd": lambda: vae(40, 72),
    "raft": raft,
    "warp": warp,
    "bicubic": lambda: {"image": image("bicubic", 1, 9, 14, 3)},
    "ddim": ddim,
    "pipeline": pipeline,
}
