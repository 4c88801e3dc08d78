"""Array aliases and the shape legend used in every annotation of the package.

Legend: ``b`` independent streams, ``f`` frames, ``h w`` LR size, ``H W`` = ``scale*h
scale*w`` SR size, ``c`` channels. Images are NHWC float in [-1, 1]; SR frames are
unclamped. Flow is ``(x, y)`` in pixels, current -> previous, for a backward warp.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

# Frames may come straight from a decoder, as numpy arrays; a type checker would then
# miss every jax method.
AnyArray = jax.Array if TYPE_CHECKING else jax.Array | np.ndarray

LRFrame = Float[AnyArray, "b h w 3"]
SRFrame = Float[AnyArray, "b H W 3"]
Frames = Float[AnyArray, "f b _ _ 3"]
Images = Float[AnyArray, "b _ _ 3"]
Latents = Float[AnyArray, "b h w latent"]
Features = Float[Array, "b _ _ _"]
Flow = Float[Array, "b _ _ 2"]
Mask = Float[Array, "b _ _ 1"]
HasPrev = Bool[Array, " b"]
FrameIndex = Int[Array, " b"]
Degree = Float[Array, " b"]
StreamKey = Key[Array, " b"]

PyTree = Any
Params = dict[str, Any]
"""Nested plain dict of arrays, as flax linen makes it and weight files hold it."""


class PerNetwork(NamedTuple):
    """One value for each of the two networks that denoise."""

    unet: PyTree
    controlnet: PyTree


class Prepared(NamedTuple):
    """Parameters as `step` reads them, made by `prepare.prepare`: constants of all
    frames are computed already.
    """

    params: Params
    """Of all networks, in the precision and the order of axes that the device reads."""
    time_shifts: PerNetwork
    """Float [num_steps, 1, d]: what the timestep adds in every ResNet block, side by
    side."""
    prompt: PerNetwork
    """Keys and values of the empty prompt, for every transformer."""


__all__ = [
    "Array",
    "Bool",
    "Degree",
    "Features",
    "Float",
    "Flow",
    "FrameIndex",
    "Frames",
    "HasPrev",
    "Images",
    "Int",
    "Key",
    "LRFrame",
    "Latents",
    "Mask",
    "Num",
    "Params",
    "PerNetwork",
    "Prepared",
    "PyTree",
    "SRFrame",
    "StreamKey",
]
