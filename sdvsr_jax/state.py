"""The state of a stream: all that lasts from frame to frame. Apart from `stream`, which
imports the networks.
"""

from typing import NamedTuple

from sdvsr_jax.types import FrameIndex, HasPrev, LRFrame, PyTree, SRFrame, StreamKey


class StreamState(NamedTuple):
    """What a stream remembers; leading axis b = independent streams. Constant in size
    for ever.

    Sizes are those of the padded frame (`padded_size`). Where ``has_prev`` is False
    (frame 0, reset) nothing else of the old frame is read.
    """

    prev_lr: LRFrame
    prev_sr: SRFrame
    flow_features: PyTree
    has_prev: HasPrev
    frame_index: FrameIndex
    key: StreamKey
