"""The outputs of PyTorch for each parity case: the counterpart of jax_outputs.py, the
same names and layouts.
"""

from collections.abc import Callable

import cases
import numpy as np
import torch
import torch_networks as networks
from cases import Arrays
from torch import Tensor

from tests.oracles import torch_published as published


def nchw(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, -3)))


def nhwc(x: Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), -3, -1)


def text(inputs: Arrays) -> Arrays:
    ids = torch.from_numpy(inputs["ids"]).long()
    states = networks.text_encoder()(ids).last_hidden_state
    return {"states": states.detach().numpy()}


def _sample(inputs: Arrays) -> tuple[Tensor, Tensor, Tensor]:
    sample = nchw(np.concatenate([inputs["latents"], inputs["image"]], -1))
    timesteps = torch.from_numpy(inputs["timesteps"]).long()
    text = torch.from_numpy(inputs["text"])
    return sample, timesteps, text


def unet(inputs: Arrays) -> Arrays:
    net = networks.unet()
    outputs = {}
    modules = {
        "temb": net.time_embedding,
        "mid": net.mid_block,
        "down1_attn0": net.down_blocks[1].attentions[0],
    }
    for name, module in modules.items():
        module.register_forward_hook(
            lambda _m, _i, out, name=name: outputs.setdefault(name, out)
        )
    residuals = {}
    if "mid" in inputs:
        names = sorted(name for name in inputs if name.startswith("down_"))
        residuals = {
            "down_block_additional_residuals": [nchw(inputs[name]) for name in names],
            "mid_block_additional_residual": nchw(inputs["mid"]),
        }
    v = net(*_sample(inputs), **residuals).sample
    attention = outputs["down1_attn0"]
    # versions of diffusers differ
    is_tuple = isinstance(attention, tuple)
    attention = attention[0] if is_tuple else attention.sample
    return {
        "output": nhwc(v),
        "mid": nhwc(outputs["mid"]),
        "temb": outputs["temb"].numpy(),
        "down1_attn0": nhwc(attention),
    }


def controlnet(inputs: Arrays) -> Arrays:
    net = networks.controlnet()
    condition = nchw(inputs["condition"])
    skips, middle = net(*_sample(inputs), controlnet_cond=condition, return_dict=False)
    embedding = net.controlnet_cond_embedding(condition)
    outputs = {f"down_{i:02d}": nhwc(skip) for i, skip in enumerate(skips)}
    return outputs | {"cond_embedding": nhwc(embedding), "mid": nhwc(middle)}


def vae(inputs: Arrays) -> Arrays:
    net = networks.vae()
    features = net.features(nchw(inputs["previous"]))
    latents = nchw(inputs["latents"])
    image = nchw(inputs["image"])
    outputs = {f"feat_{i}": nhwc(x) for i, x in enumerate(features)}
    return outputs | {
        "encode_latents": nhwc(net.encode(image)),
        "decode_plain": nhwc(net.decode(latents)),
        "decode_temporal": nhwc(net.decode(latents, features)),
    }


def raft(inputs: Arrays) -> Arrays:
    net = networks.raft("raft_large", cases.RAFT_LARGE)
    image = nchw(inputs["image"])
    previous = nchw(inputs["previous"])
    flows = net(image, previous, num_flow_updates=12)
    features = net.feature_encoder(image)
    prev_features = net.feature_encoder(previous)
    net.corr_block.build_pyramid(features, prev_features)
    lookup = nhwc(net.corr_block.index_pyramid(nchw(inputs["coords"])))
    return {
        "fmap": nhwc(features),
        "context": nhwc(net.context_encoder(image)),
        # one form there, two here
        "lookup_volume": lookup,
        "lookup_on_demand": lookup,
        "flow_00": nhwc(flows[0]),
        "flow_11": nhwc(flows[11]),
    }


def warps(inputs: Arrays) -> Arrays:
    flows = dict(inputs)
    image = nchw(flows.pop("image"))
    return {
        name: nhwc(published.warp(image, torch.from_numpy(flow)))
        for name, flow in flows.items()
    }


def ddim(inputs: Arrays) -> Arrays:
    scheduler = published.scheduler(cases.MODEL.diffusion)
    x = torch.from_numpy(inputs["x"])
    following = []
    clean = []
    for timestep, v in zip(scheduler.timesteps, inputs["v"]):
        out = scheduler.step(torch.from_numpy(v), timestep, x)
        x = out.prev_sample
        following.append(x.numpy())
        clean.append(out.pred_original_sample.numpy())
    return {
        "next": np.stack(following),
        "x0": np.stack(clean),
        "alphas_cumprod": scheduler.alphas_cumprod.numpy(),
        "timesteps": scheduler.timesteps.numpy(),
    }


def pipeline(inputs: Arrays) -> Arrays:
    ids = torch.from_numpy(cases.EMPTY_PROMPT).long()
    text = networks.text_encoder()(ids).last_hidden_state
    flow = networks.raft("flow", cases.MODEL.flow)
    nets = published.Networks(
        networks.unet(), networks.controlnet(), networks.vae(), flow, text
    )
    before = {"bicubic": None, "decoded": None}
    frames = []
    for lr, noise in zip(inputs["lr"], inputs["noise"]):
        images = nchw(lr)[None], nchw(noise)[None]
        past = before["bicubic"], before["decoded"]
        before = published.frame(nets, cases.MODEL, *images, *past)
        frames.append(before)
    return {
        name: np.concatenate([nhwc(frame[name]) for frame in frames])
        for name in frames[0]
    }


RUN: dict[str, Callable[[Arrays], Arrays]] = {
    "text": text,
    "unet": unet,
    "unet_odd": unet,
    "controlnet": controlnet,
    "vae": vae,
    "vae_odd": vae,
    "raft": raft,
    "warp": warps,
    "bicubic": lambda inputs: {"up": nhwc(published.bicubic(nchw(inputs["image"])))},
    "ddim": ddim,
    "pipeline": pipeline,
}
"""For every case of `cases.CASES`: inputs -> outputs."""


def run(case: str) -> Arrays:
    with torch.no_grad():
        return RUN[case](cases.CASES[case]())
