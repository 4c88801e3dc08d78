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

from sdvsr_jax.types import Array, Float

# Attention scores in memory at once per call of the plain form, 256 MiB of float32: of
# a whole 720p frame they would be gigabytes.
MAX_SCORES = 2**26


Heads = Float[Array, "b _ n d"]
"""[batch, tokens, heads, channels of a head]."""


def attend(q: Heads, k: Heads, v: Heads) -> Heads:
    """softmax(q k' / sqrt(d)) v."""
    batch, length, num_heads, head_dim = q.shape
    if runs_in_cudnn(q.dtype, head_dim, device_kind()):
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    num_keys = k.shape[1]
    scores_per_query = batch * num_heads * num_keys
    if length * scores_per_query <= MAX_SCORES:
        return jax.nn.dot_product_attention(q, k, v)
    chunk = max(1, MAX_SCORES // scores_per_query)
    return _attend_in_chunks(q, k, v, chunk)


def _attend_in_chunks(q: Heads, k: Heads, v: Heads, chunk: int) -> Heads:
    """The plain form for ``chunk`` queries at a time."""
    length = q.shape[1]
    # rounded up; queries of zeros fill the last one, and their results are cut off
    num_chunks = -(-length // chunk)
    margin = num_chunks * chunk - length
    none = (0, 0)
    padding = (none, (0, margin), none, none)
    padded = jnp.pad(q, padding)
    chunks = rearrange(padded, "b (n t) h d -> n b t h d", n=num_chunks)

    def attend_chunk(part: Heads) -> Heads:
        return jax.nn.dot_product_attention(part, k, v)

    out = jax.lax.map(attend_chunk, chunks)
    joined = rearrange(out, "n b t h d -> b (n t) h d")
    return joined[:, :length]


def runs_in_cudnn(dtype: DTypeLike, head_dim: int, device: tuple[str, float]) -> bool:
    """cuDNN's rules: 16 bit, heads of at most 128 in steps of 8, an Ampere GPU or
    newer; ``device`` as below.
    """
    platform, capability = device
    is_ampere = platform == "cuda" and capability >= 8.0
    is_sixteen_bit = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    fits = head_dim <= 128 and head_dim % 8 == 0
    return is_ampere and is_sixteen_bit and fits


def device_kind(device: Any = None) -> tuple[str, float]:
    """Returns ('cuda', compute capability) of a device, or of the one that programs are
    traced for; ('', 0) elsewhere.
    """
    device = device or program_device()
    if device.platform != "gpu":
        return "", 0.0
    # 'gpu' is the platform of AMD devices as well
    if not device.device_kind.startswith("NVIDIA"):
        return "", 0.0
    return "cuda", float(device.compute_capability)


def program_device() -> Any:
    """Returns the device of `jax.default_device`, or the first one."""
    # getattr, because type checkers do not see JAX's settings
    default: Any = getattr(jax.config, "jax_default_device")  # noqa: B009
    if default is None or isinstance(default, str):
        return jax.devices(default)[0]
    return default
