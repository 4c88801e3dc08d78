"""Convolutions and products of all networks but RAFT, in the forms that
`networks.prepare` gives their kernels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.ops import quantized
from sdvsr_jax.ops.subpixel import HWIO, OHWI, Dimensions, upsampled_conv
from sdvsr_jax.types import Array, Features, Float

KERNEL_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class Conv(nn.Module):
    """Convolution with torch's symmetric padding (JAX 'SAME' differs at stride 2)."""

    features: int
    kernel: int
    stride: int
    use_bias: bool
    kernel_init: nn.initializers.Initializer
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Features, bias: Float[Array, "n c"] | None = None
    ) -> Features:
        """``bias`` takes the place of the layer's own, one for all rows or one each."""
        kernel, dimensions = kernel_of(self, x.shape[-1])
        padding = [(self.kernel // 2, self.kernel // 2)] * 2
        if self.has_variable("params", "kernel_scale"):
            scale = self.get_variable("params", "kernel_scale")
            y = quantized.convolution(
                x, kernel, scale, self.stride, padding, dimensions
            ).astype(self.dtype)
        else:
            y = jax.lax.conv_general_dilated(
                x.astype(self.dtype),
                kernel.astype(self.dtype),
                (self.stride, self.stride),
                padding,
                dimension_numbers=dimensions,
            )
        if not self.use_bias:
            return y
        own = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + (own if bias is None else bias[:, None, None]).astype(self.dtype)

    def shifted(self, shift: Float[Array, "n c"]) -> Float[Array, "n c"]:
        """The bias plus ``shift``, for `__call__`: a GPU's convolution adds one array
        on its way out.
        """
        bias = (
            0
            if self.is_initializing()
            else jnp.asarray(self.get_variable("params", "bias"))
        )
        return (shift + bias).astype(self.dtype)


def conv(
    features: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    bias: bool = True,
    zero: bool = False,
    dtype: DTypeLike,
) -> Conv:
    """A `Conv`; ``zero``: starts at zero."""
    return Conv(
        features,
        kernel,
        stride,
        bias,
        nn.initializers.zeros if zero else KERNEL_INIT,
        dtype,
    )


def kernel_of(
    module: "Conv | UpsampledConv", channels: int
) -> tuple[Array, Dimensions]:
    """The kernel of a convolution and how its axes lie: HWIO, or what
    `networks.prepare` made of it.
    """
    if (turned := stored(module, "kernel_ohwi")) is not None:
        return turned, OHWI
    shape = (module.kernel, module.kernel, channels, module.features)
    return jnp.asarray(module.param("kernel", module.kernel_init, shape)), HWIO


def stored(module: nn.Module, name: str) -> Array | None:
    """A parameter that only `networks.prepare` makes; None where it has not."""
    return (
        jnp.asarray(module.get_variable("params", name))
        if module.has_variable("params", name)
        else None
    )


class Dense(nn.Module):
    """A linear layer over channels."""

    features: int
    dtype: DTypeLike
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1], self.features)
        kernel = jnp.asarray(
            self.param("kernel", nn.initializers.lecun_normal(), shape)
        )
        if self.has_variable("params", "kernel_scale"):
            y = quantized.product(
                x, kernel, self.get_variable("params", "kernel_scale")
            ).astype(self.dtype)
        else:
            y = x.astype(self.dtype) @ kernel.astype(self.dtype)
        if not self.use_bias:
            return y
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(
            self.dtype
        )


class UpsampledConv(nn.Module):
    """3x3 convolution of the input resized (nearest) to a given size; parameters of a
    plain convolution.
    """

    features: int
    use_bias: bool
    dtype: DTypeLike
    kernel = 3
    kernel_init = staticmethod(KERNEL_INIT)

    @nn.compact
    def __call__(self, x: Features, height: int, width: int) -> Features:
        kernel, dimensions = kernel_of(self, x.shape[-1])
        phases = stored(self, "phases" if dimensions == HWIO else "phases_ohwi")
        y = upsampled_conv(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            height,
            width,
            dimensions,
            phases,
        )
        if not self.use_bias:
            return y
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(
            self.dtype
        )
