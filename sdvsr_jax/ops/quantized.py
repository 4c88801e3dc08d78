"""Products and convolutions of 8-bit numbers: a bargain, off by default
(`ModelConfig.quantized`).

An array becomes values of 8 bits times a scale. Weights have a scale per output
channel, made once per model. Inputs have one per token (products) or per frame
(convolutions), from their largest value in every call: nothing has to be calibrated on
data, and the frames of a batch do not see each other.
"""

import re

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.ops.attention import device_kind
from sdvsr_jax.ops.subpixel import Dimensions
from sdvsr_jax.types import Array

LARGEST = {jnp.dtype(jnp.int8): 127.0, jnp.dtype(jnp.float8_e4m3fn): 448.0}
"""The largest value of each type."""
DTYPES = {"int8": jnp.int8, "float8": jnp.float8_e4m3fn}
LAYERS = re.compile(
    r"/(resnets_\d+/conv(1|2|_shortcut)|downsamplers_\d+/conv|layers_\d+/conv_\d"
    r"|to_[qkv]|to_out_0|proj|net_2|proj_in|proj_out)/kernel$"
)
"""Where nearly all of the arithmetic is. First and last layers, upsampling and the TPM
keep their precision.
"""
Padding = list[tuple[int, int]]


def is_quantized(path: tuple[str, ...], rank: int, kind: str) -> bool:
    """Whether that leaf is the kernel of such a layer; ``kind``: none, int8, float8
    (XLA cannot convolve those).
    """
    return (kind == "int8" or (kind == "float8" and rank == 2)) and bool(
        LAYERS.search("/".join(path))
    )


def quantize(
    x: Array, axes: int | tuple[int, ...], dtype: DTypeLike
) -> tuple[Array, Array]:
    """(values, scale): x is about values * scale, the scale shared along ``axes`` and
    float32.
    """
    largest = jnp.max(jnp.abs(x), axes, keepdims=True).astype(jnp.float32)
    # the least normal number: of zeros the values are zero too
    scale = jnp.maximum(
        largest / LARGEST[jnp.dtype(dtype)], jnp.finfo(jnp.float32).tiny
    )
    values = x.astype(jnp.float32) / scale
    return (jnp.round(values) if jnp.issubdtype(dtype, jnp.integer) else values).astype(
        dtype
    ), scale


def product(x: Array, kernel: Array, kernel_scale: Array) -> Array:
    """x [..., c] times kernel [c, d] of 8 bits: float32."""
    values, scale = quantize(x, -1, kernel.dtype)
    a, b = _operands(values, kernel)
    contract = (((a.ndim - 1,), (0,)), ((), ()))
    y = jax.lax.dot_general(a, b, contract, preferred_element_type=_sum_type(a.dtype))
    return y.astype(jnp.float32) * scale * kernel_scale


def convolution(
    x: Array,
    kernel: Array,
    kernel_scale: Array,
    stride: int,
    padding: Padding,
    dimensions: Dimensions,
) -> Array:
    """Convolution of x [b, h, w, c] with a kernel of 8 bits: float32."""
    values, scale = quantize(x, (1, 2, 3), kernel.dtype)
    a, b = _operands(values, kernel)
    y = jax.lax.conv_general_dilated(
        a,
        b,
        (stride, stride),
        padding,
        dimension_numbers=dimensions,
        preferred_element_type=_sum_type(a.dtype),
    )
    return y.astype(jnp.float32) * scale * kernel_scale


def _operands(values: Array, kernel: Array) -> tuple[Array, Array]:
    """As they are on a GPU. On a CPU XLA's convolution of int8 takes many times as long
    as that of float32.
    """
    if device_kind()[0] == "cuda":
        return values, kernel
    return values.astype(jnp.float32), kernel.astype(jnp.float32)


def _sum_type(dtype: DTypeLike) -> DTypeLike:
    return jnp.int32 if jnp.issubdtype(dtype, jnp.integer) else jnp.float32
