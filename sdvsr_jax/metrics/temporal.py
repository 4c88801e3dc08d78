"""Steadiness over time: tLP, tOF and the masked warping error.

All three compare two neighbouring frames. The warping error rewards blur, so it is read
beside the other two.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import to_levels
from sdvsr_jax.ops.warp import inside, warp
from sdvsr_jax.types import Array, Float, Flow, Mask, SRFrame


def tlp(
    lpips_sr: Float[Array, " b"], lpips_hr: Float[Array, " b"]
) -> Float[Array, " b"]:
    """|LPIPS(sr, prev_sr) - LPIPS(hr, prev_hr)| (Chu et al. 2020): does it change as
    much as the truth does?
    """
    return jnp.abs(lpips_sr - lpips_hr)


def tof(flow_sr: Flow, flow_hr: Flow) -> Float[Array, " b"]:
    """Mean end-point difference, pixels, of the flow seen in SR and in HR (Chu et al.
    2020).
    """
    return jnp.linalg.norm(flow_sr - flow_hr, axis=-1).mean((1, 2))


def visible(forward: Flow, backward: Flow) -> Mask:
    """1 where a pixel of the current frame is seen in the previous one too.

    Forward-backward consistency of Sundaram et al. 2010: |f + b(f)|^2 < 0.01 (|f|^2 +
    |b(f)|^2) + 0.5, and inside.

    Args:
      forward: current -> previous; `backward`: previous -> current.
    """
    returned = warp(backward, forward)
    closing = jnp.square(forward + returned).sum(-1, keepdims=True)
    lengths = (jnp.square(forward) + jnp.square(returned)).sum(-1, keepdims=True)
    return (closing < 0.01 * lengths + 0.5) * inside(forward).astype(jnp.float32)


def warping_error(
    sr: SRFrame, prev_sr: SRFrame, flow: Flow, mask: Mask
) -> Float[Array, " b"]:
    """Mean squared RGB difference, units of [0, 1], between a frame and the warped
    previous one where visible.

    ``flow`` and ``mask`` come from the ground truth (or LR) frames, so that every
    method is warped alike.
    """
    difference = (to_levels(sr) - warp(to_levels(prev_sr), flow)) / 255
    error = jnp.square(difference).mean(-1, keepdims=True) * mask
    return error.sum((1, 2, 3)) / jnp.maximum(mask.sum((1, 2, 3)), 1)


def frame_change(
    sr: Float[ArrayLike, "b H W 3"], prev_sr: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Mean absolute RGB difference of two consecutive 8-bit frames, in levels."""
    return jnp.abs(to_levels(sr) - to_levels(prev_sr)).mean((1, 2, 3))
