"""Where a live stream goes: one container that is written, and can be played, as the
frames come.
"""

import contextlib
import os
import threading
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from infer.colours import FromRGB
from infer.errors import JobError
from infer.frame import Frame
from infer.latency import Latency, now
from infer.sinks.encoders import VideoSpec
from infer.sinks.live_encoders import add_live_encoder
from infer.sinks.output_files import OutputFiles
from infer.sinks.sockets import BUFFER, SocketFile
from infer.sinks.sound import SoundCopy, holds_sound
from infer.sources.address import Target
from infer.sources.info import FULL
from infer.sources.live import LiveSource
from infer.sources.network import is_network
from infer.sources.probe import reason
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array

GOODBYE = 0.5
"""Seconds that a write in progress gets to end before the stream is closed."""
LONGEST_FILL = 10
"""Seconds of missing frames that a stream without clock makes up for by repeating the
last one.
"""


def _lost(source: LiveSource) -> list[str]:
    """What a source has beside its picture and its first sound: a stream has neither
    the time nor the place.
    """
    info = source.info
    first = source.audio.index if source.audio is not None else None
    others = [str(s) for s in info.others if s.index != first]
    said = {
        "chapters": info.chapters,
        "metadata": info.metadata or info.stream_metadata,
        "rotation": info.display_matrix,
    }
    return [*others, *info.left_out, *(name for name, there in said.items() if there)]


class LiveSink:
    """Encodes, sends, and measures when each frame has left. Its clock starts at the
    first frame.

    The source's sound is copied as it is, where the container takes it.
    """

    def __init__(
        self,
        target: Target,
        spec: VideoSpec,
        source: LiveSource,
        timeout: float,
        stop: threading.Event,
    ) -> None:
        info = source.info
        self._target, self._spec, self._tick = target, spec, info.time_base
        self._socket = (
            SocketFile(target.url, timeout, stop) if is_network(target.url) else None
        )
        self._files = OutputFiles(target.path)
        try:
            self._container = av.open(
                self._destination(),
                "w",
                format=target.muxer,
                options=target.options,
                buffer_size=BUFFER,
                io_open=self._files.open if target.muxer == "hls" else None,
            )
        except (av.FFmpegError, OSError) as error:
            raise JobError(
                f"{target.path}: cannot be written ({reason(error)})"
            ) from None
        self._video = add_live_encoder(self._container, spec, target)
        self.lost = _lost(source)
        self._sound: SoundCopy | None = None
        if (
            source.audio is not None
            and target.has_clock
            and holds_sound(target.muxer, source.audio)
        ):
            self._sound = SoundCopy(
                self._container, source.audio, source.sound, info.time_base
            )
        size = (spec.width, spec.height)
        self._convert = FromRGB(
            *size,
            info.layout.is_deep,
            spec.pixel_format,
            spec.matrix,
            spec.color.range == FULL,
        )
        self._picture: VideoFrame | None = None
        self._pixels: Array | None = None
        self._origin: int | None = None
        self._next = 0
        self.latency = Latency()
        self.num_frames = self.num_repeated = self.num_filled = 0
        self._in_use = threading.Lock()

    def _destination(self) -> Any:
        """A file object, or an address for FFmpeg."""
        if self._socket is not None:
            return self._socket
        if self._target.is_file and self._target.muxer != "hls":
            return self._files.open_main()
        return self._target.url

    @property
    def end_of_latency(self) -> str:
        """The moment at which a frame counts as gone, in words."""
        if self._socket is not None:
            return self._socket.end_of_latency
        return "its last byte is with the operating system"

    @property
    def has_sound(self) -> bool:
        return self._sound is not None

    def write(self, frame: Frame, pixels: Array) -> None:
        """Sends the upscaled picture at the time of ``frame``; the same array as before
        is not converted again.
        """
        with self._in_use:
            if pixels is self._pixels:
                self.num_repeated += 1
            else:
                self._pixels = pixels
                rgb = np.asarray(pixels)
                self._picture = self._convert.convert(rgb, 0, self._spec.time_base)
            self._send(frame)

    def mark(self, state: StreamState) -> None:
        """A stream is one group without an end."""

    def close(self) -> None:
        """Finishes the stream, if its receiver is still there.

        A file that never got a frame is removed. Raises JobError if a file could not be
        written to its end.
        """
        # A write that never ends was left alone; nobody may touch its container.
        if self._in_use.acquire(timeout=GOODBYE):
            self._finish()

    def _finish(self) -> None:
        with contextlib.suppress(av.FFmpegError, OSError):
            if self.num_frames:
                self._mux(self._video.encode(None))
                self._drain()
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()
        if self._socket is not None:
            self._socket.close()
        if not self.num_frames and self._target.is_file:
            with contextlib.suppress(OSError):
                os.remove(self._target.path)
        self._files.close()

    def _send(self, frame: Frame) -> None:
        picture = self._picture
        assert picture is not None
        if self._origin is None:
            self._origin = frame.pts
        if self._target.has_clock:
            self._encode(picture, frame.pts - self._origin)
            self._drain()
        else:
            self._send_evenly(picture, frame.pts - self._origin)
        self.num_frames += 1
        self.latency.add(now() - frame.arrived)

    def _send_evenly(self, frame: VideoFrame, ticks: int) -> None:
        """Without timestamps frames follow at a fixed rate: gaps are filled, frames too
        many left out.
        """
        due = round(ticks * self._tick * self._spec.rate)
        self._next = max(self._next, due - round(LONGEST_FILL * self._spec.rate))
        while self._next < due:
            self._encode(frame, self._next)
            self.num_filled += 1
        if self._next == due:
            self._encode(frame, due)

    def _encode(self, frame: VideoFrame, pts: int) -> None:
        frame.pts, self._next = pts, pts + 1
        self._mux(self._video.encode(frame))

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            self._container.mux(packet)
        self._files.require_success()

    def _drain(self) -> None:
        if self._sound is not None:
            self._sound.drain(self._origin or 0)
