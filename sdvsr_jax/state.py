"""The state of a stream: all that lasts from frame to frame. Apart from `stream`, which
imports the networks.
"""

from typing import NamedTuple

from sdvsr_jax.types import (
    Degree,
    FrameIndex,
    HasPrev,
    LRFrame,
    PyTree,
    SRFrame,
    StreamKey,
)


class StreamState(NamedTuple):
    """The memory of a stream; leading axis b = independent streams. Constant in size
    for ever.

    Sizes are those of the padded frame (`padded_size`). Where ``has_prev`` is False
    (frame 0, reset) nothing else of the old frame is read.
    """

    prev_lr: LRFrame
    """As the networks saw it: repaired, where the model has a restorer."""
    prev_sr: SRFrame
    flow_features: PyTree
    memory: PyTree
    """The restorer's own, [b, h/2, w/2, c]; empty without one."""
    restore: Degree
    """How much of the restorer's repair is applied: 0 (none) to 1; negative: it decides
    itself, pixel by pixel.
    """
    has_prev: HasPrev
    frame_index: FrameIndex
    key: StreamKey
