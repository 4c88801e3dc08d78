"""The published checkpoint folder (diffusers layout): reading it, and writing our
weights in it.

unet/ controlnet/ vae/   config.json + diffusion_pytorch_model.safetensors scheduler/
scheduler_config.json text_encoder/            config.json + model.safetensors; read
once, for the embedding of the empty prompt raft_large/              model.safetensors,
torchvision's state dict (not part of the published download) sdvsr_config.json
our addition: the complete ModelConfig; wins over the diffusers configs
prompt_embeds.safetensors  our addition: replaces text_encoder/
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from sdvsr_jax import config as configs
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.models.text import TextConfig, TextEncoder, empty_prompt_embeds
from sdvsr_jax.networks import abstract_params, uses_text
from sdvsr_jax.types import Params
from sdvsr_jax.weights.torch_names import from_torch, to_torch

WEIGHTS = "diffusion_pytorch_model.safetensors"
FLOW_FILE = "raft_large/model.safetensors"
OUR_CONFIG = "sdvsr_config.json"
PROMPT_FILE = "prompt_embeds.safetensors"
DOWN_BLOCKS = {"DownBlock2D": "none", "CrossAttnDownBlock2D": "cross"}


def is_published(folder: Path) -> bool:
    """Whether the folder looks like a published (or exported) checkpoint."""
    return (folder / "unet" / "config.json").is_file()


def read(folder: Path, flow_weights: Path | None = None) -> tuple[ModelConfig, Params]:
    """Config and float32 numpy parameters. ``flow_weights`` replaces
    ``raft_large/model.safetensors``.

    Raises ValueErrors for missing files and for weights that do not fit, all faults of
    a part in one line.
    """
    config = read_config(folder)
    target = abstract_params(config)
    files = {name: folder / name / WEIGHTS for name in ("unet", "controlnet", "vae")}
    files["flow"] = flow_weights or folder / FLOW_FILE
    params = {
        name: from_torch(_load(path), target[name], f"{name} ({path})")
        for name, path in files.items()
    }
    return config, params | (
        {"prompt_embeds": _prompt_embeds(folder)} if uses_text(config) else {}
    )


def write(folder: Path, config: ModelConfig, params: Params) -> None:
    """The inverse of `read`: a folder that the published PyTorch code loads, where the
    config allows it.
    """
    for name in ("unet", "controlnet", "vae"):
        _save(folder / name / WEIGHTS, to_torch(params[name]))
        _write_json(folder / name / "config.json", diffusers_config(name, config))
    _save(folder / FLOW_FILE, to_torch(params["flow"]))
    _write_json(
        folder / "scheduler" / "scheduler_config.json", _scheduler_config(config)
    )
    _write_json(folder / OUR_CONFIG, configs.to_dict(config))
    if uses_text(config):
        _save(
            folder / PROMPT_FILE, {"prompt_embeds": np.asarray(params["prompt_embeds"])}
        )


def read_config(folder: Path) -> ModelConfig:
    """Our own config file if there is one, else what the diffusers configs say, with
    the published quirks.
    """
    if (folder / OUR_CONFIG).is_file():
        return configs.from_dict(_read_json(folder / OUR_CONFIG))
    unet, vae = (
        _read_json(folder / "unet/config.json"),
        _read_json(folder / "vae/config.json"),
    )
    controlnet = _read_json(folder / "controlnet/config.json")
    scheduler = _read_json(folder / "scheduler/scheduler_config.json")
    _require(
        "unet",
        unet,
        {"use_linear_projection": True, "num_class_embeds": None, "in_channels": 7},
    )
    _require(
        "scheduler",
        scheduler,
        {
            "prediction_type": "v_prediction",
            "beta_schedule": "scaled_linear",
            "clip_sample": False,
        },
    )
    base = configs.stream_diffvsr()
    kinds = [DOWN_BLOCKS[kind] for kind in unet["down_block_types"]]
    only_cross = unet["only_cross_attention"]
    attention = [
        kind if kind == "none" or only else "self"
        for kind, only in zip(kinds, only_cross)
    ]
    return dataclasses.replace(
        base,
        name=folder.name,
        unet=dataclasses.replace(
            base.unet,
            latent_channels=unet["out_channels"],
            block_channels=tuple(unet["block_out_channels"]),
            layers_per_block=unet["layers_per_block"],
            attention=tuple(attention),
            # diffusers' historical misnomer: this is the number of heads
            num_heads=unet["attention_head_dim"],
            text_channels=unet["cross_attention_dim"],
            num_groups=unet["norm_num_groups"],
        ),
        guidance=dataclasses.replace(
            base.guidance,
            condition_channels=tuple(controlnet["conditioning_embedding_out_channels"]),
        ),
        vae=dataclasses.replace(
            base.vae,
            latent_channels=vae["latent_channels"],
            encoder_channels=tuple(vae["encoder_block_out_channels"]),
            encoder_blocks=tuple(vae["num_encoder_blocks"]),
            decoder_channels=tuple(vae["decoder_block_out_channels"]),
            decoder_blocks=tuple(vae["num_decoder_blocks"]),
            scaling_factor=float(vae["scaling_factor"]),
            latent_magnitude=float(vae["latent_magnitude"]),
        ),
        diffusion=dataclasses.replace(
            base.diffusion,
            num_train_timesteps=scheduler["num_train_timesteps"],
            beta_start=scheduler["beta_start"],
            beta_end=scheduler["beta_end"],
            set_alpha_to_one=scheduler["set_alpha_to_one"],
        ),
    )


def _prompt_embeds(folder: Path) -> np.ndarray:
    if (folder / PROMPT_FILE).is_file():
        return load_file(folder / PROMPT_FILE)["prompt_embeds"]
    config = TextConfig.from_json(_read_json(folder / "text_encoder/config.json"))
    ids = jax.ShapeDtypeStruct((1, config.max_position_embeddings), np.int32)
    target = jax.eval_shape(
        lambda i: TextEncoder(config).init(jax.random.key(0), i)["params"], ids
    )
    path = folder / "text_encoder/model.safetensors"
    return np.asarray(
        empty_prompt_embeds(
            from_torch(_load(path), target, f"text encoder ({path})"), config
        )
    )


def diffusers_config(name: str, config: ModelConfig) -> dict[str, Any]:
    """What diffusers calls the model's ``name`` ("unet", "controlnet" or "vae"): its
    config.json.
    """
    unet, vae = config.unet, config.vae
    blocks = {
        "block_out_channels": unet.block_channels,
        "layers_per_block": unet.layers_per_block,
        "attention_head_dim": unet.num_heads,
        "cross_attention_dim": unet.text_channels,
        "norm_num_groups": unet.num_groups,
        "norm_eps": 1e-5,
        "only_cross_attention": [kind != "self" for kind in unet.attention],
        "use_linear_projection": True,
        "num_class_embeds": None,
        "in_channels": unet.latent_channels + unet.image_channels,
        "down_block_types": [
            "DownBlock2D" if kind == "none" else "CrossAttnDownBlock2D"
            for kind in unet.attention
        ],
    }
    if name == "unet":
        up_types = [
            "UpBlock2D" if kind == "none" else "CrossAttnUpBlock2D"
            for kind in unet.attention[::-1]
        ]
        return {
            "_class_name": "UNet2DConditionModel",
            "out_channels": unet.latent_channels,
            "up_block_types": up_types,
            **blocks,
        }
    if name == "controlnet":
        embedding = config.guidance.condition_channels
        return {
            "_class_name": "ControlNetModel",
            "conditioning_embedding_out_channels": embedding,
            **blocks,
        }
    return {
        "_class_name": "TemporalAutoencoderTiny",
        "latent_channels": vae.latent_channels,
        "block_out_channels": vae.decoder_channels,
        "encoder_block_out_channels": vae.encoder_channels,
        "decoder_block_out_channels": vae.decoder_channels,
        "num_encoder_blocks": vae.encoder_blocks,
        "num_decoder_blocks": vae.decoder_blocks,
        "scaling_factor": vae.scaling_factor,
        "latent_magnitude": vae.latent_magnitude,
        "upsampling_scaling_factor": 2,
    }


def _scheduler_config(config: ModelConfig) -> dict[str, Any]:
    diffusion = config.diffusion
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": diffusion.num_train_timesteps,
        "beta_start": diffusion.beta_start,
        "beta_end": diffusion.beta_end,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "set_alpha_to_one": diffusion.set_alpha_to_one,
        "clip_sample": False,
    }


def _require(part: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(
                f"{part} config: {key} is {found.get(key)!r}, expected {value!r}: this is another model"
            )


def _load(path: Path) -> dict[str, np.ndarray]:
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: not a .safetensors file; pickles run code when read, so convert it to safetensors"
        )
    if not path.is_file():
        hint = " (torchvision's RAFT-large as safetensors; give its place with --flow-weights)"
        raise ValueError(
            f"{path}: missing, expected the weights here{hint if path.match(FLOW_FILE) else ''}"
        )
    try:
        return load_file(path)
    except Exception as error:
        raise ValueError(
            f"{path}: not a readable safetensors file ({error}); download it again"
        ) from None


def _save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(
            f"{path}: missing, expected a checkpoint in the published layout"
        )
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
