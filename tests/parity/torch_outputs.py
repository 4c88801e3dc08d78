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
    states = networks.text_encoder()(
        torch.from_numpy(inputs["ids"]).long()
    ).last_hidden_state
    return {"states": states.detach().numpy()}


def _sample(inputs: Arrays) -> tuple[Tensor, Tensor, Tensor]:
    sample = nchw(np.concatenate([inputs["latents"], inputs["image"]], -1))
    return (
        sample,
        torch.from_numpy(inputs["timesteps"]).long(),
        torch.from_numpy(inputs["text"]),
    )


def unet(inputs: Arrays) -> Arrays:
    net, captured = networks.unet(), {}
    watched = {
        "temb": net.time_embedding,
        "mid": net.mid_block,
        "down1_attn0": net.down_blocks[1].attentions[0],
    }
    for name, module in watched.items():
        module.register_forward_hook(
            lambda _m, _i, out, name=name: captured.setdefault(name, out)
        )
    residuals = {}
    if "mid" in inputs:
        down = [nchw(v) for k, v in sorted(inputs.items()) if k.startswith("down_")]
        residuals = {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": nchw(inputs["mid"]),
        }
    output = net(*_sample(inputs), **residuals).sample
    attention = (
        captured["down1_attn0"][0]
        if isinstance(captured["down1_attn0"], tuple)
        else captured["down1_attn0"].sample
    )
    return {
        "output": nhwc(output),
        "mid": nhwc(captured["mid"]),
        "temb": captured["temb"].numpy(),
        "down1_attn0": nhwc(attention),
    }


def controlnet(inputs: Arrays) -> Arrays:
    net, condition = networks.controlnet(), nchw(inputs["condition"])
    down, mid = net(*_sample(inputs), controlnet_cond=condition, return_dict=False)
    embedding = net.controlnet_cond_embedding(condition)
    return {"cond_embedding": nhwc(embedding), "mid": nhwc(mid)} | {
        f"down_{i:02d}": nhwc(d) for i, d in enumerate(down)
    }


def vae(inputs: Arrays) -> Arrays:
    net = networks.vae()
    features = net.features(nchw(inputs["previous"]))
    latents = nchw(inputs["latents"])
    return {
        "encode_latents": nhwc(net.encode(nchw(inputs["image"]))),
        "decode_plain": nhwc(net.decode(latents)),
        "decode_temporal": nhwc(net.decode(latents, features)),
    } | {f"feat_{i}": nhwc(f) for i, f in enumerate(features)}


def raft(inputs: Arrays) -> Arrays:
    net = networks.raft("raft_large", cases.RAFT_LARGE)
    image, previous = nchw(inputs["image"]), nchw(inputs["previous"])
    flows = net(image, previous, num_flow_updates=12)
    features = [net.feature_encoder(x) for x in (image, previous)]
    net.corr_block.build_pyramid(*features)
    lookup = nhwc(net.corr_block.index_pyramid(nchw(inputs["coords"])))
    return {
        "fmap": nhwc(features[0]),
        "context": nhwc(net.context_encoder(image)),
        "lookup_volume": lookup,
        "lookup_on_demand": lookup,
    } | {f"flow_{i:02d}": nhwc(flows[i]) for i in (0, 11)}


def warps(inputs: Arrays) -> Arrays:
    image = nchw(inputs["image"])
    return {
        k: nhwc(published.warp(image, torch.from_numpy(f)))
        for k, f in inputs.items()
        if k != "image"
    }


def ddim(inputs: Arrays) -> Arrays:
    scheduler, x, following, clean = (
        published.scheduler(cases.MODEL.diffusion),
        torch.from_numpy(inputs["x"]),
        [],
        [],
    )
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
    nets, frames = (
        published.Networks(
            networks.unet(), networks.controlnet(), networks.vae(), flow, text
        ),
        [],
    )
    for lr, noise in zip(inputs["lr"], inputs["noise"]):
        before = frames[-1] if frames else {"bicubic": None, "decoded": None}
        past = before["bicubic"], before["decoded"]
        frames.append(
            published.frame(nets, cases.MODEL, nchw(lr)[None], nchw(noise)[None], *past)
        )
    return {name: np.concatenate([nhwc(f[name]) for f in frames]) for name in frames[0]}


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
