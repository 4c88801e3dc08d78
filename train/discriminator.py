"""PatchGAN discriminator (Isola et al. 2017): five 4x4 convolutions, 70x70 receptive
field.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from sdvsr_jax.types import Array

Norm = Literal["batch", "group"]


class PatchGAN(nn.Module):
    """[b,H,W,c] -> logits [b,H/8-2,W/8-2,1]. `batch` is the released form, `group` has
    no batch statistics.

    c = 6 (image and condition) has 2,768,705 parameters, c = 3 has 2,765,633.
    """

    norm: Norm = "group"
    widths: tuple[int, ...] = (64, 128, 256, 512)

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        for index, width in enumerate(self.widths):
            stride = 2 if index < 3 else 1
            x = _conv(width, stride, use_bias=index == 0, name=f"conv_{index}")(x)
            if index:
                x = self._normalise(x, index, train)
            x = nn.leaky_relu(x, 0.2)
        return _conv(1, 1, use_bias=True, name="conv_out")(x)

    def _normalise(self, x: Array, index: int, train: bool) -> Array:
        scale = nn.initializers.truncated_normal(0.02)
        init = {
            "scale_init": lambda *a: 1 + scale(*a),
            "epsilon": 1e-5,
            "name": f"norm_{index}",
        }
        if self.norm == "batch":
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, **init)(x)
        return nn.GroupNorm(num_groups=16, **init)(x)


def _conv(width: int, stride: int, use_bias: bool, name: str) -> nn.Conv:
    return nn.Conv(
        width,
        (4, 4),
        strides=stride,
        padding=1,
        use_bias=use_bias,
        name=name,
        dtype=jnp.float32,
        kernel_init=nn.initializers.normal(0.02),
    )
