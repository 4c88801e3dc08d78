"""Discriminators: PatchGAN (Isola et al. 2017; five 4x4 convolutions, 70x70 receptive
field), and a small U-Net with a logit per pixel.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from configs import GANConfig
from sdvsr_jax.ops.resize import resize_nearest
from sdvsr_jax.types import Array, Features, Mask

Norm = Literal["batch", "group"]


class PatchGAN(nn.Module):
    """[b,H,W,c] -> logits [b,H/8-2,W/8-2,1]. `batch` is the released form, `group` has
    no batch statistics.

    c = 6 (image and condition) has 2,768,705 parameters, c = 3 has 2,765,633.
    """

    norm: Norm = "group"
    widths: tuple[int, ...] = (64, 128, 256, 512)

    @nn.compact
    def __call__(self, x: Features, train: bool = False) -> Mask:
        for index, width in enumerate(self.widths):
            is_first = index == 0
            # three reductions by two: a logit for every eighth pixel
            stride = 2 if index < 3 else 1
            # a norm has a bias of its own
            conv = _conv(width, stride, use_bias=is_first, name=f"conv_{index}")
            x = conv(x)
            if not is_first:
                x = self._normalise(x, index, train)
            x = nn.leaky_relu(x, 0.2)
        conv_out = _conv(1, 1, use_bias=True, name="conv_out")
        return conv_out(x)

    def _normalise(self, x: Array, index: int, train: bool) -> Array:
        # starts as pix2pix's, as the convolutions do
        noise = nn.initializers.truncated_normal(0.02)

        def around_one(*arguments: Any) -> Array:
            return 1 + noise(*arguments)

        settings = {
            "scale_init": around_one,
            "epsilon": 1e-5,
            "name": f"norm_{index}",
        }
        if self.norm == "group":
            return nn.GroupNorm(num_groups=16, **settings)(x)
        # PyTorch counts its momentum of 0.1 the other way round
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, **settings)
        return norm(x)


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
    def __call__(self, x: Features, train: bool = False) -> Mask:
        del train
        fine, middle, coarse = self.widths
        skip_fine = _conv_leaky(x, fine, "conv_0")
        skip_middle = _conv_leaky(skip_fine, middle, "down_0", stride=2)
        x = _conv_leaky(skip_middle, coarse, "down_1", stride=2)
        x = _conv_leaky(x, coarse, "conv_1")
        x = _up(x, skip_middle, middle, "up_0")
        x = _up(x, skip_fine, fine, "up_1")
        return _same(1, "conv_out")(x)


def _conv_leaky(x: Array, width: int, name: str, stride: int = 1) -> Array:
    conv = _same(width, name, stride)
    return nn.leaky_relu(conv(x), 0.2)


def _up(x: Array, skip: Array, width: int, name: str) -> Array:
    """A convolution, then nearest to the size of the skip, which is added."""
    conv = _same(width, name)
    _, rows, columns, _ = skip.shape
    x = resize_nearest(conv(x), rows, columns)
    return nn.leaky_relu(x + skip, 0.2)


def make_critic(settings: GANConfig) -> PatchGAN | UNetCritic:
    """The discriminator that the settings name."""
    return UNetCritic() if settings.net == "unet" else PatchGAN(settings.norm)


def _same(width: int, name: str, stride: int = 1) -> nn.Conv:
    return nn.Conv(
        width,
        (3, 3),
        strides=stride,
        padding=1,
        name=name,
        dtype=jnp.float32,
    )
