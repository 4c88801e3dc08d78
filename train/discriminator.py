"""Discriminators: PatchGAN (Isola et al. 2017; five 4x4 convolutions, 70x70 receptive
field), and a small U-Net with a logit per pixel.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from configs import GANConfig
from sdvsr_jax.ops.resize import resize_nearest
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


class UNetCritic(nn.Module):
    """[b,H,W,c] -> logits [b,H,W,1], sides divisible by 4; 57 k parameters for c = 6.

    Without norms, which would tie a logit to the rest of the picture.
    """

    widths: tuple[int, int, int] = (16, 32, 64)

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        del train
        fine, middle, coarse = self.widths
        x = nn.leaky_relu(_same(fine, "conv_0")(x), 0.2)
        skips = [x]
        for name, width in (("down_0", middle), ("down_1", coarse)):
            x = nn.leaky_relu(_same(width, name, stride=2)(x), 0.2)
            skips.append(x)
        x = nn.leaky_relu(_same(coarse, "conv_1")(x), 0.2)
        for name, width, skip in (
            ("up_0", middle, skips[1]),
            ("up_1", fine, skips[0]),
        ):
            x = resize_nearest(_same(width, name)(x), *skip.shape[1:3])
            x = nn.leaky_relu(x + skip, 0.2)
        return _same(1, "conv_out")(x)


def make_critic(settings: GANConfig) -> PatchGAN | UNetCritic:
    """The discriminator that the settings name."""
    return UNetCritic() if settings.net == "unet" else PatchGAN(settings.norm)


def _same(width: int, name: str, stride: int = 1) -> nn.Conv:
    return nn.Conv(
        width, (3, 3), strides=stride, padding=1, name=name, dtype=jnp.float32
    )
