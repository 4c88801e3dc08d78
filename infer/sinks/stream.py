"""Where a live stream goes: one container that can be played while it is written."""

import contextlib
import os
import threading
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from infer.code_points import FULL
from infer.colours import FromRGB
from infer.errors import JobError
from infer.frame import Frame
from infer.latency import Latency, now
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.live_encoders import add_live_encoder
from infer.sinks.output_files import OutputFiles
from infer.sinks.sockets import BUFFER, SocketFile
from infer.sinks.sound import SoundCopy, holds_sound
from infer.sources.address import Target
from infer.sources.live import LiveSource
from infer.sources.network import is_network
from infer.sources.probe import reason
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array

# Seconds that a write in progress gets to end before the stream is closed.
GOODBYE = 0.5
# Seconds of missing frames that a stream without clock makes up for by repeating the
# last one.
LONGEST_FILL = 10


def _absent(source: LiveSource) -> list[str]:
    """Everything of a source beside its picture and its first sound: a stream has
    neither the time nor the place.
    """
    info = source.info
    copied = source.audio.index if source.audio is not None else None
    others = [stream for stream in info.others if stream.index != copied]
    names = [str(stream) for stream in others]
    names += info.left_out
    if info.chapters:
        names.append("chapters")
    if info.metadata or info.stream_metadata:
        names.append("metadata")
    if info.display_matrix:
        names.append("rotation")
    if info.layout.has_alpha:
        names.append("the alpha channel")
    return names


class LiveSink:
    """Encodes, sends, and measures when each frame has left.

    Its clock starts at the first frame. The source's sound is copied as it is, where
    the container takes it. lost: the parts of the source that are not in the stream, in
    words. first, last: when the first and the last frame that have left had come.
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
        self._target = target
        self._spec = spec
        self._tick = info.time_base
        self._files = OutputFiles(target.path)
        self._socket: SocketFile | None = None
        if is_network(target.url):
            self._socket = SocketFile(target.url, timeout, stop)
        self._container = self._open()
        try:
            self._video = add_live_encoder(self._container, spec, target)
        except (JobError, ValueError):
            # An encoder that refuses leaves no empty file behind.
            self._files.discard()
            raise
        self.lost = _absent(source)
        self._sound = self._copy_of_sound(source)
        self._convert = FromRGB(
            spec.width,
            spec.height,
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
        self.first: float | None = None
        self.last: float | None = None
        self.num_frames = 0
        self.num_repeated = 0
        self.num_filled = 0
        self._in_use = threading.Lock()

    def _open(self) -> OutputContainer:
        target = self._target
        # Only HLS opens files by itself: its list and its segments.
        opener = self._files.open if target.muxer == "hls" else None
        try:
            return av.open(
                self._destination(),
                "w",
                format=target.muxer,
                options=target.options,
                buffer_size=BUFFER,
                io_open=opener,
            )
        except (av.FFmpegError, OSError) as error:
            why = reason(error)
            raise JobError(f"{target.path}: cannot be written ({why})") from None

    def _copy_of_sound(self, source: LiveSource) -> SoundCopy | None:
        sound = source.audio
        if sound is None or not self._target.has_clock:
            return None
        if not holds_sound(self._target.muxer, sound):
            return None
        return SoundCopy(self._container, sound, source.sound, self._tick)

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
        """Whether the source's sound is copied."""
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
        # Whatever fails here, the rest must be closed; files remember their failure.
        failures = (av.FFmpegError, OSError, JobError)
        with contextlib.suppress(*failures):
            if self.num_frames:
                self._mux(self._video.encode(None))
                self._drain()
        with contextlib.suppress(*failures):
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
        self.last = frame.arrived
        self.first = self.first or self.last
        self.latency.add(now() - frame.arrived)

    def _send_evenly(self, frame: VideoFrame, ticks: int) -> None:
        """Without timestamps frames follow at a fixed rate: gaps are filled, frames too
        many left out.
        """
        rate = self._spec.rate
        due = round(ticks * self._tick * rate)
        earliest = due - round(LONGEST_FILL * rate)
        self._next = max(self._next, earliest)
        while self._next < due:
            self._encode(frame, self._next)
            self.num_filled += 1
        if self._next == due:
            self._encode(frame, due)

    def _encode(self, frame: VideoFrame, pts: int) -> None:
        frame.pts = pts
        self._next = pts + 1
        self._mux(self._video.encode(frame))

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            self._container.mux(packet)
        self._files.require_success()

    def _drain(self) -> None:
        if self._sound is not None:
            self._sound.drain(self._origin or 0)
