"""Attention in memory linear in the number of queries: cuDNN's fused kernel, or plain
products chunk by chunk.

The kernel must be asked for by name (`jax.nn.dot_product_attention` never picks it) and
raises where it cannot run, even in a branch that is not taken: so the choice is made
here, in Python, from the device that the program is for.
"""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike

from sdvsr_jax.types import Array

MAX_SCORES = 2**26
"""Attention scores held at once per call of the plain form."""


def attend(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k' / sqrt(d)) v over [b, tokens, heads, d]."""
    if runs_in_cudnn(q.dtype, q.shape[-1], device_kind()):
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    batch, length, heads, _ = q.shape
    scores_per_query = batch * heads * k.shape[1]
    if length * scores_per_query <= MAX_SCORES:
        return jax.nn.dot_product_attention(q, k, v)
    chunk = max(1, MAX_SCORES // scores_per_query)
    count = -(-length // chunk)
    padded = jnp.pad(q, ((0, 0), (0, count * chunk - length), (0, 0), (0, 0)))
    chunks = rearrange(padded, "b (n t) h d -> n b t h d", n=count)
    out = jax.lax.map(lambda part: jax.nn.dot_product_attention(part, k, v), chunks)
    return rearrange(out, "n b t h d -> b (n t) h d")[:, :length]


def runs_in_cudnn(dtype: DTypeLike, head_dim: int, device: tuple[str, float]) -> bool:
    """cuDNN's rules: 16 bit, heads of at most 128 in steps of 8, an Ampere GPU or
    newer; ``device`` as below.
    """
    platform, capability = device
    sixteen_bit = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    return (
        platform == "cuda"
        and capability >= 8.0
        and sixteen_bit
        and head_dim <= 128
        and head_dim % 8 == 0
    )


def device_kind(device: Any = None) -> tuple[str, float]:
    """('cuda', compute capability) of a device, or of the one that programs are traced
    for; ('', 0) elsewhere.
    """
    device = device or program_device()
    # 'gpu' is the platform of AMD devices as well.
    if device.platform != "gpu" or not device.device_kind.startswith("NVIDIA"):
        return "", 0.0
    return "cuda", float(device.compute_capability)


def program_device() -> Any:
    """The device of `jax.default_device`, or the first one."""
    chosen: Any = getattr(jax.config, "jax_default_device")  # noqa: B009
    if chosen is None or isinstance(chosen, str):
        return jax.devices(chosen)[0]
    return chosen
