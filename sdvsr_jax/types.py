"""Array aliases and the shape legend used in every annotation of the package.

Legend: ``b`` independent streams, ``f`` frames, ``h w`` LR size, ``H W`` = ``scale*h scale*w`` SR size,
``c`` channels. Images are NHWC float in [-1, 1]; SR frames are unclamped. Flow is ``(x, y)`` in pixels,
current -> previous, for a backward warp.
"""

from typing import Any

from jaxtyping import Array, Bool, Float, Int, Key

LRFrame = Float[Array, "b h w 3"]
SRFrame = Float[Array, "b H W 3"]
Frames = Float[Array, "f b h w 3"]
Latents = Float[Array, "b h w c"]
Features = Float[Array, "b h w c"]
Flow = Float[Array, "b h w 2"]
Mask = Float[Array, "b h w 1"]
HasPrev = Bool[Array, " b"]
FrameIndex = Int[Array, " b"]
StreamKey = Key[Array, " b"]

Params = dict[str, Any]
"""Nested plain dict of arrays, as flax linen makes it."""
PyTree = Any

__all__ = [
    "Array", "Bool", "Features", "Float", "Flow", "FrameIndex", "Frames", "HasPrev", "Int", "Key", "LRFrame",
    "Latents", "Mask", "Params", "PyTree", "SRFrame", "StreamKey",
]  # fmt: skip
