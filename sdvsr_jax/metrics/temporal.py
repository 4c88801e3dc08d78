"""Steadiness over time: tLP, tOF, the masked warping error and the change of a frame.

All compare two neighbouring frames. The warping error rewards blur, so it is read
beside the others.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from sdvsr_jax.metrics.luma import PEAK, to_levels
from sdvsr_jax.ops.warp import inside, warp
from sdvsr_jax.types import Array, Float, Flow, Mask, SRFrame

# The tolerances of Sundaram et al. 2010, which papers use with any flow: errors of
# interpolation grow with the motion.
RELATIVE = 0.01
ABSOLUTE = 0.5


def tlp(
    lpips_sr: Float[Array, " b"], lpips_hr: Float[Array, " b"]
) -> Float[Array, " b"]:
    """Returns |LPIPS(sr, prev_sr) - LPIPS(hr, prev_hr)| (Chu et al. 2020).

    0 where the result changes as much as the truth does.
    """
    return jnp.abs(lpips_sr - lpips_hr)


def tof(flow_sr: Flow, flow_hr: Flow) -> Float[Array, " b"]:
    """Returns the mean end-point difference of two flows, pixels (Chu et al. 2020)."""
    distance = jnp.linalg.norm(flow_sr - flow_hr, axis=-1)
    return distance.mean((1, 2))


def visible(forward: Flow, backward: Flow) -> Mask:
    """Returns 1 where a pixel of the current frame is seen in the previous one too.

    Forward-backward consistency of Sundaram et al. 2010: |f + b(f)|^2 < 0.01 (|f|^2 +
    |b(f)|^2) + 0.5, and inside.

    Args:
      forward: current -> previous; `backward`: previous -> current.
    """
    back = warp(backward, forward)
    gap = _squared_length(forward + back)
    lengths = _squared_length(forward) + _squared_length(back)
    is_consistent = gap < RELATIVE * lengths + ABSOLUTE
    return is_consistent * inside(forward).astype(jnp.float32)


def _squared_length(flow: Flow) -> Mask:
    return jnp.square(flow).sum(-1, keepdims=True)


def warping_error(
    sr: SRFrame, prev_sr: SRFrame, flow: Flow, mask: Mask
) -> Float[Array, " b"]:
    """Returns the mean squared RGB difference from the warped previous frame.

    In squared units of [0, 1], where `mask` is 1. ``flow`` and ``mask`` come from the
    ground truth (or LR) frames, so that every method is warped alike.
    """
    warped = warp(to_levels(prev_sr), flow)
    difference = (to_levels(sr) - warped) / PEAK
    error = jnp.square(difference).mean(-1, keepdims=True) * mask
    area = jnp.maximum(mask.sum((1, 2, 3)), 1)
    return error.sum((1, 2, 3)) / area


def frame_change(
    sr: Float[ArrayLike, "b H W 3"], prev_sr: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Returns the mean absolute RGB difference of two 8-bit frames, in levels."""
    difference = to_levels(sr) - to_levels(prev_sr)
    return jnp.abs(difference).mean((1, 2, 3))
