"""The state of a stream: all that lasts from frame to frame. Apart from `stream`, which
imports the networks.
"""

from typing import NamedTuple

import jax.numpy as jnp

from sdvsr_jax.types import (
    Degree,
    FrameIndex,
    HasPrev,
    LRFrame,
    PyTree,
    SRFrame,
    StreamKey,
)

AUTO = -1.0
"""Degree of repair that the restorer chooses itself."""


class StreamState(NamedTuple):
    """The memory of a stream; leading axis b = independent streams. Constant in size
    for ever.

    Sizes are those of the padded frame (`padded_size`). Where ``has_prev`` is False
    (frame 0, reset) nothing else of the old frame is read.
    """

    prev_lr: LRFrame
    """As the networks saw it: repaired, where the model has a restorer."""
    prev_sr: SRFrame
    """As `stream.feedback` carries it, margins included."""
    flow_features: PyTree
    """Of the previous frame, so that they are computed once."""
    memory: PyTree
    """The restorer's own, [b, h/2, w/2, c]; empty without one."""
    restore: Degree
    """How much of the restorer's repair is applied: 0 (none) to 1; negative: it decides
    itself, pixel by pixel.
    """
    has_prev: HasPrev
    """False in frame 0 and after a reset; a mask, so one program serves all frames."""
    frame_index: FrameIndex
    """Of the frame to come."""
    key: StreamKey
    """Of the noise; it never changes, every frame folds its number in."""


def reset(state: StreamState, mask: HasPrev) -> StreamState:
    """Starts the masked streams again at frame 0: their next outputs are those of a
    fresh state.
    """
    return state._replace(
        has_prev=state.has_prev & ~mask,
        frame_index=jnp.where(mask, 0, state.frame_index),
    )
