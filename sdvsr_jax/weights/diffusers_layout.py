"""The published checkpoint folder (diffusers layout): reading it, and writing our
weights in it.

    unet/ controlnet/ vae/      config.json, diffusion_pytorch_model.safetensors
    scheduler/                  scheduler_config.json
    text_encoder/               config.json, model.safetensors; read once, for the
                                embedding of the empty prompt
    raft_large/                 model.safetensors, torchvision's state dict (not part of
                                the published download)
    sdvsr_config.json           our addition: the complete ModelConfig; wins over the
                                diffusers configs
    prompt_embeds.safetensors   our addition: replaces text_encoder/
    restorer/                   our addition, where the model has one: model.safetensors
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from sdvsr_jax import config as configs
from sdvsr_jax.config import DiffusionConfig, ModelConfig, UNetConfig, VAEConfig
from sdvsr_jax.models.text import TextConfig, TextEncoder, empty_prompt_embeds
from sdvsr_jax.networks import abstract_params, uses_text
from sdvsr_jax.types import Array, Params, PyTree
from sdvsr_jax.weights.torch_names import from_torch, to_torch

WEIGHTS = "diffusion_pytorch_model.safetensors"
FLOW_FILE = "raft_large/model.safetensors"
RESTORER_FILE = "restorer/model.safetensors"
OUR_CONFIG = "sdvsr_config.json"
PROMPT_FILE = "prompt_embeds.safetensors"
DIFFUSERS_PARTS = ("unet", "controlnet", "vae")
DOWN_BLOCKS = {"DownBlock2D": "none", "CrossAttnDownBlock2D": "cross"}

UNET_REQUIRED = {
    "use_linear_projection": True,
    "num_class_embeds": None,
    "in_channels": 7,
}
# Settings that our code has no other form of: another value would be another model.
SCHEDULER_REQUIRED = {
    "prediction_type": "v_prediction",
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}


def read(folder: Path, flow_weights: Path | None = None) -> tuple[ModelConfig, Params]:
    """Returns config and float32 numpy parameters. ``flow_weights`` replaces
    ``raft_large/model.safetensors``.

    Raises ValueErrors for missing files and for weights that do not fit, all faults of
    a part in one line.
    """
    config = read_config(folder)
    target = abstract_params(config)
    files = {}
    for name in DIFFUSERS_PARTS:
        files[name] = folder / name / WEIGHTS
    files["flow"] = flow_weights or folder / FLOW_FILE
    if config.restorer:
        files["restorer"] = folder / RESTORER_FILE
    params: Params = {}
    for name, path in files.items():
        state = _load(path)
        params[name] = from_torch(state, target[name], f"{name} ({path})")
    if uses_text(config):
        params["prompt_embeds"] = _prompt_embeds(folder)
    return config, params


def write(folder: Path, config: ModelConfig, params: Params) -> None:
    """The inverse of `read`: a folder that the published PyTorch code loads, where the
    config allows it.
    """
    for name in DIFFUSERS_PARTS:
        part = folder / name
        _save(part / WEIGHTS, to_torch(params[name]))
        _write_json(part / "config.json", diffusers_config(name, config))
    _save(folder / FLOW_FILE, to_torch(params["flow"]))
    if config.restorer:
        _save(folder / RESTORER_FILE, to_torch(params["restorer"]))
    scheduler = folder / "scheduler" / "scheduler_config.json"
    _write_json(scheduler, _scheduler_config(config))
    _write_json(folder / OUR_CONFIG, configs.to_dict(config))
    if uses_text(config):
        embeds = np.asarray(params["prompt_embeds"])
        _save(folder / PROMPT_FILE, {"prompt_embeds": embeds})


def read_config(folder: Path) -> ModelConfig:
    """Returns the config of our own file if there is one, else that of the diffusers
    configs, with the published quirks.
    """
    if (folder / OUR_CONFIG).is_file():
        return configs.from_dict(_read_json(folder / OUR_CONFIG))
    unet = _read_json(folder / "unet/config.json")
    vae = _read_json(folder / "vae/config.json")
    controlnet = _read_json(folder / "controlnet/config.json")
    scheduler = _read_json(folder / "scheduler/scheduler_config.json")
    _require("unet", unet, UNET_REQUIRED)
    _require("scheduler", scheduler, SCHEDULER_REQUIRED)
    base = configs.stream_diffvsr()
    condition_channels = tuple(controlnet["conditioning_embedding_out_channels"])
    return dataclasses.replace(
        base,
        name=folder.name,
        unet=_unet(unet, base.unet),
        guidance=dataclasses.replace(
            base.guidance, condition_channels=condition_channels
        ),
        vae=_vae(vae, base.vae),
        diffusion=_diffusion(scheduler, base.diffusion),
    )


def _unet(data: dict[str, Any], base: UNetConfig) -> UNetConfig:
    return dataclasses.replace(
        base,
        latent_channels=data["out_channels"],
        block_channels=tuple(data["block_out_channels"]),
        layers_per_block=data["layers_per_block"],
        attention=_attention(data),
        # diffusers' historical misnomer: this is the number of heads
        num_heads=data["attention_head_dim"],
        text_channels=data["cross_attention_dim"],
        num_groups=data["norm_num_groups"],
    )


def _attention(unet: dict[str, Any]) -> tuple[Any, ...]:
    kinds = [DOWN_BLOCKS[kind] for kind in unet["down_block_types"]]
    # where it is false, pixels attend to each other before they attend to the text
    only_cross = unet["only_cross_attention"]
    return tuple(
        kind if kind == "none" or only else "self"
        for kind, only in zip(kinds, only_cross)
    )


def _vae(data: dict[str, Any], base: VAEConfig) -> VAEConfig:
    return dataclasses.replace(
        base,
        latent_channels=data["latent_channels"],
        encoder_channels=tuple(data["encoder_block_out_channels"]),
        encoder_blocks=tuple(data["num_encoder_blocks"]),
        decoder_channels=tuple(data["decoder_block_out_channels"]),
        decoder_blocks=tuple(data["num_decoder_blocks"]),
        scaling_factor=float(data["scaling_factor"]),
        latent_magnitude=float(data["latent_magnitude"]),
    )


def _diffusion(data: dict[str, Any], base: DiffusionConfig) -> DiffusionConfig:
    return dataclasses.replace(
        base,
        num_train_timesteps=data["num_train_timesteps"],
        beta_start=data["beta_start"],
        beta_end=data["beta_end"],
        set_alpha_to_one=data["set_alpha_to_one"],
    )


def _prompt_embeds(folder: Path) -> np.ndarray:
    if (folder / PROMPT_FILE).is_file():
        return load_file(folder / PROMPT_FILE)["prompt_embeds"]
    config = TextConfig.from_json(_read_json(folder / "text_encoder/config.json"))
    encoder = TextEncoder(config)
    ids = jax.ShapeDtypeStruct((1, config.max_position_embeddings), np.int32)

    def init(ids: Array) -> PyTree:
        return encoder.init(jax.random.key(0), ids)

    variables = jax.eval_shape(init, ids)
    path = folder / "text_encoder/model.safetensors"
    state = _load(path)
    params = from_torch(state, variables["params"], f"text encoder ({path})")
    embeds = empty_prompt_embeds(params, config)
    return np.asarray(embeds)


def diffusers_config(name: str, config: ModelConfig) -> dict[str, Any]:
    """Returns the config.json of the model's ``name`` ("unet", "controlnet" or "vae")
    in diffusers' words.
    """
    if name == "unet":
        return {
            "_class_name": "UNet2DConditionModel",
            "out_channels": config.unet.latent_channels,
            "up_block_types": _block_types("Up", config.unet.attention[::-1]),
            **_blocks(config.unet),
        }
    if name == "controlnet":
        return {
            "_class_name": "ControlNetModel",
            "conditioning_embedding_out_channels": config.guidance.condition_channels,
            **_blocks(config.unet),
        }
    vae = config.vae
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


def _blocks(unet: UNetConfig) -> dict[str, Any]:
    """Settings that U-Net and ControlNet have in common."""
    return {
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
        "down_block_types": _block_types("Down", unet.attention),
    }


def _block_types(direction: str, attention: tuple[str, ...]) -> list[str]:
    plain = f"{direction}Block2D"
    with_attention = f"CrossAttn{direction}Block2D"
    return [plain if kind == "none" else with_attention for kind in attention]


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


def _require(part: str, data: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        if data.get(key) != value:
            raise ValueError(
                f"{part} config: {key} is {data.get(key)!r}, expected {value!r}: this "
                "is another model"
            )


def _load(path: Path) -> dict[str, np.ndarray]:
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: not a .safetensors file; pickles run code when read, so convert "
            "it to safetensors"
        )
    if not path.is_file():
        hint = ""
        if path.match(FLOW_FILE):
            hint = (
                " (torchvision's RAFT-large as safetensors; give its place with "
                "--flow-weights)"
            )
        raise ValueError(f"{path}: missing, expected the weights here{hint}")
    try:
        return load_file(path)
    # the library raises errors of its own, of Rust and of the system
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
    text = json.dumps(data, indent=2)
    path.write_text(f"{text}\n", "utf-8")
