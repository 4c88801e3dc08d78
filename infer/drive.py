"""The driver of every job: frames through the compiled step, with reading and writing
overlapped.
"""

import functools
from collections.abc import Iterable
from typing import Protocol

from infer.model.engine import Engine
from infer.overlap import Worker, prefetch
from infer.sources.files import Frame
from sdvsr_jax.stream import StreamState
from sdvsr_jax.types import Array

READ_AHEAD, WRITE_BEHIND = 4, 2
"""Frames waiting before and after the device; memory does not grow with the length of
the video.
"""


class Sink(Protocol):
    """Where finished frames go; called from one thread, in order."""

    def write(self, index: int, pts: int, duration: int, pixels: Array) -> None:
        """One frame; ``pixels`` may still be on its way from the device."""

    def mark(self, state: StreamState) -> None:
        """A group of frames is complete; ``state`` is the stream's state after its last
        frame.
        """


def drive(
    engine: Engine, state: StreamState, frames: Iterable[Frame], sink: Sink, group: int
) -> int:
    """Upscale all frames into ``sink``, marking every ``group`` frames and the end;
    returns their number.
    """
    count = 0
    with Worker(WRITE_BEHIND) as worker:
        for count, frame in enumerate(prefetch(frames, READ_AHEAD), 1):
            state, pixels = engine.step(state, frame.rgb)
            worker.put(
                functools.partial(
                    sink.write, frame.index, frame.pts, frame.duration, pixels
                )
            )
            if count % group == 0:
                worker.put(functools.partial(sink.mark, engine.snapshot(state)))
        if count % group:
            worker.put(functools.partial(sink.mark, state))
    return count
