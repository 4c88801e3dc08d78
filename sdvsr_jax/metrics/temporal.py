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
    difference = flow_sr - flow_hr
    distance = jnp.linalg.norm(difference, axis=-1)
    return distance.mean((1, 2))


def visible(forward: Flow, backward: Flow) -> Mask:
    """Returns 1 where a pixel of the current frame is seen in the previous one too.

    Forward-backward consistency of Sundaram et al. 2010: |f + b(f)|^2 < 0.01 (|f|^2 +
    |b(f)|^2) + 0.5, and inside.

    Args:
      forward: current -> previous; `backward`: previous -> current.
    """
    back = warp(backward, forward)
    # there and back again: 0 where the same thing is seen
    gap = _squared_length(forward + back)
    lengths = _squared_length(forward) + _squared_length(back)
    tolerance = RELATIVE * lengths + ABSOLUTE
    is_consistent = gap < tolerance
    is_inside = inside(forward)
    return is_consistent * is_inside.astype(jnp.float32)


def _squared_length(flow: Flow) -> Mask:
    squares = jnp.square(flow)
    return squares.sum(-1, keepdims=True)


def warping_error(
    sr: SRFrame, prev_sr: SRFrame, flow: Flow, mask: Mask
) -> Float[Array, " b"]:
    """Returns the mean squared RGB difference from the warped previous frame.

    In squared units of [0, 1], where `mask` is 1; frames are in [-1, 1], rounded to 8
    bit here, ``flow`` in their pixels. ``flow`` and ``mask`` come from the ground truth
    (or LR) frames, so that every method is warped alike.
    """
    warped = warp(to_levels(prev_sr), flow)
    difference = (to_levels(sr) - warped) / PEAK
    squares = jnp.square(difference)
    error = squares.mean(-1, keepdims=True) * mask
    # a pixel at least: 0, not NaN, where nothing is visible
    area = mask.sum((1, 2, 3))
    area = jnp.maximum(area, 1)
    total = error.sum((1, 2, 3))
    return total / area


def frame_change(
    sr: Float[ArrayLike, "b H W 3"], prev_sr: Float[ArrayLike, "b H W 3"]
) -> Float[Array, " b"]:
    """Returns the mean absolute RGB difference of two frames in [-1, 1], rounded to 8
    bit here, in levels.
    """
    difference = to_levels(sr) - to_levels(prev_sr)
    change = jnp.abs(difference)
    return change.mean((1, 2, 3))
