"""Convolutions and products of all networks but RAFT, in the forms that
`prepare.prepare` gives their kernels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from sdvsr_jax.ops.subpixel import HWIO, OHWI, Dimensions, upsampled_conv
from sdvsr_jax.types import Array, Features, Float

# by the fan-in, so that activations keep their size from layer to layer
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
        """``bias`` takes the place of the layer's, one for all rows or one each."""
        kernel, dimensions = kernel_of(self, x.shape[-1])
        margin = self.kernel // 2
        padding = (margin, margin)
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=[padding, padding],
            dimension_numbers=dimensions,
        )
        if not self.use_bias:
            return y
        # asked for in any case, so that the layer always has the parameter
        layer_bias = self.param("bias", nn.initializers.zeros, (self.features,))
        bias = layer_bias if bias is None else bias[:, None, None]
        bias = bias.astype(self.dtype)
        return y + bias

    def shifted(self, shift: Float[Array, "n c"]) -> Float[Array, "n c"]:
        """Returns the bias plus ``shift``, for `__call__`: a GPU's convolution adds one
        array on its way out.
        """
        # while parameters are made there is no bias yet
        if not self.is_initializing():
            bias = self.get_variable("params", "bias")
            shift = shift + jnp.asarray(bias)
        return shift.astype(self.dtype)


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
    init = nn.initializers.zeros if zero else KERNEL_INIT
    return Conv(
        features=features,
        kernel=kernel,
        stride=stride,
        use_bias=bias,
        kernel_init=init,
        dtype=dtype,
    )


def kernel_of(
    module: "Conv | UpsampledConv", channels: int
) -> tuple[Array, Dimensions]:
    """Returns the kernel of a convolution and how its axes lie: HWIO, or OHWI where
    `prepare.prepare` put them in that order.
    """
    output_first = stored(module, "kernel_ohwi")
    if output_first is not None:
        return output_first, OHWI
    shape = (module.kernel, module.kernel, channels, module.features)
    kernel = module.param("kernel", module.kernel_init, shape)
    return jnp.asarray(kernel), HWIO


def stored(module: nn.Module, name: str) -> Array | None:
    """Returns a parameter that only `prepare.prepare` makes; None in a raw tree."""
    if not module.has_variable("params", name):
        return None
    leaf = module.get_variable("params", name)
    return jnp.asarray(leaf)


class Dense(nn.Module):
    """A linear layer over channels."""

    features: int
    dtype: DTypeLike
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        init = nn.initializers.lecun_normal()
        shape = (x.shape[-1], self.features)
        kernel = jnp.asarray(self.param("kernel", init, shape))
        x = x.astype(self.dtype)
        kernel = kernel.astype(self.dtype)
        y = x @ kernel
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        bias = bias.astype(self.dtype)
        return y + bias


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
        channels = x.shape[-1]
        kernel, dimensions = kernel_of(self, channels)
        phases_name = "phases" if dimensions == HWIO else "phases_ohwi"
        phases = stored(self, phases_name)
        kernel = kernel.astype(self.dtype)
        x = x.astype(self.dtype)
        y = upsampled_conv(x, kernel, height, width, dimensions, phases)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + bias.astype(self.dtype)
