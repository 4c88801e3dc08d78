"""Where upscaled frames of a file job go: encoded segments, or PNG files.

Both are in the work folder until the job is complete.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from infer.colours import add_alpha
from infer.frame import Frame
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.segments import Segment, SegmentWriter
from infer.sources.images import encode_png
from infer.sources.info import VideoInfo
from sdvsr_jax.atomic import sync
from sdvsr_jax.snapshot import to_arrays
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array


class Storage(Protocol):
    """A folder that keeps finished groups; `infer.jobs.work_folder` has it."""

    path: Path

    def part(self, name: str) -> str:
        """Returns the path for an unfinished file."""
        ...

    def commit(
        self,
        segment: Segment,
        state: Mapping[str, np.ndarray],
        images: Iterable[str] = (),
    ) -> None:
        """Keeps a complete group: its segment or images, and the state behind it."""
        ...


class SegmentSink:
    """Encodes every group of frames on its own, and commits it with the state after."""

    def __init__(self, work: Storage, spec: VideoSpec, group: int) -> None:
        self._work = work
        self._spec = spec
        self._group = group
        self._writer: SegmentWriter | None = None

    def write(self, frame: Frame, pixels: Array) -> None:
        """Encodes one frame."""
        if self._writer is None:
            part = self._work.part("video")
            self._writer = SegmentWriter(part, self._spec, self._group)
        # Waits here, in the writer's thread, for a picture still on its way from the
        # device.
        rgb = np.asarray(pixels)
        self._writer.write(rgb, frame.pts, frame.duration, frame.alpha)

    def mark(self, state: StreamState) -> None:
        """Ends the group."""
        assert self._writer is not None
        segment = self._writer.close()
        self._writer = None
        self._work.commit(segment, to_arrays(state))

    def close(self) -> None:
        """Gives up the group in progress."""
        if self._writer is not None:
            self._writer.abandon()


class PNGSink:
    """Writes numbered PNG files, or files named as the source's, into ``frames`` of the
    work folder.
    """

    def __init__(self, work: Storage, info: VideoInfo) -> None:
        self._work = work
        self.folder = work.path / "frames"
        self.folder.mkdir(exist_ok=True)
        self._names = [Path(file).stem for file in info.files]
        num_different = len(set(self._names))
        if num_different != len(self._names):
            # a.jpg and a.png would be one file.
            self._names = []
        self._pts: list[int] = []
        self._durations: list[int] = []
        self._files: list[str] = []

    def write(self, frame: Frame, pixels: Array) -> None:
        """Writes one file, onto the disk."""
        name = f"{frame.index:08d}"
        if self._names:
            name = self._names[frame.index]
        path = self.folder / f"{name}.png"
        picture = np.asarray(pixels)
        if frame.alpha is not None:
            picture = add_alpha(picture, frame.alpha)
        path.write_bytes(encode_png(picture, frame.orientation))
        sync(path)
        self._pts.append(frame.pts)
        self._durations.append(frame.duration)
        self._files.append(f"{self.folder.name}/{path.name}")

    def mark(self, state: StreamState) -> None:
        """Ends the group."""
        segment = Segment("", tuple(self._pts), tuple(self._durations), 0)
        self._work.commit(segment, to_arrays(state), self._files)
        self._pts = []
        self._durations = []
        self._files = []

    def close(self) -> None:
        """Nothing is held open; files of an unfinished group are written again."""
