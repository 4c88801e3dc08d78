"""Where a live stream goes: one container that is written, and can be played, as the frames come."""

import contextlib
import os
from collections import deque

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame

from infer.errors import JobError
from infer.live.address import Target
from infer.live.encoders import add_live_encoder
from infer.live.latency import Latency, now
from infer.live.policy import Arrival
from infer.media.codecs import VideoSpec
from infer.media.container import add_copy
from infer.media.convert import FromRGB
from infer.media.info import FULL, VideoInfo
from infer.media.network import is_network
from infer.media.probe import reason
from sdvsr_jax.types import Array

LONGEST_FILL = 10
"""Seconds of missing frames that a stream without clock makes up for by repeating the last one."""


class LiveSink:
    """Encodes, sends, and measures when each frame has left.

    What goes to a network keeps the session's timestamps; a file or pipe begins at 0.

    sound: audio packets on the session's clock; they are copied as they are, where the container takes them.
    """

    def __init__(
        self, target: Target, spec: VideoSpec, audio: AudioStream | None, sound: deque[tuple[int, Packet]],
        info: VideoInfo, timeout: float,
    ) -> None:  # fmt: skip
        self._target, self._spec, self._sound, self._tick = target, spec, sound, info.time_base
        self._container = av.open(target.url, "w", format=target.muxer, options=target.options,
                                  timeout=timeout if is_network(target.url) else None)  # fmt: skip
        self._video = add_live_encoder(self._container, spec, target)
        self._audio = None
        # AAC without its setup data (from MPEG-TS) does not go into fragments of MP4: its muxer refuses it.
        is_bare = audio is not None and audio.codec_context.name == "aac" and not audio.codec_context.extradata
        if audio is not None and target.has_clock and not (is_bare and target.muxer in ("mp4", "mov")):
            with contextlib.suppress(av.FFmpegError, ValueError):
                self._audio = add_copy(self._container, audio)
        try:
            self._container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            raise JobError(f"{target.path}: cannot be written ({reason(error)})") from None
        size = (spec.width, spec.height)
        self._convert = FromRGB(
            *size, info.layout.is_deep, spec.pixel_format, spec.matrix, spec.color.range == FULL
        )
        self._frame: VideoFrame | None = None
        self._origin: int | None = None
        self._next = 0
        self._last_sound = -1
        self.latency = Latency()
        self.num_frames = self.num_repeated = self.num_filled = 0

    @property
    def has_sound(self) -> bool:
        return self._audio is not None

    def write(self, arrival: Arrival, pixels: Array) -> None:
        """One upscaled frame, uint8 or uint16; it may still be on its way from the device."""
        self._frame = self._convert.convert(np.asarray(pixels), 0, self._spec.time_base)
        self._send(arrival)

    def repeat(self, arrival: Arrival) -> None:
        """The last upscaled frame again, at the time of this one."""
        self.num_repeated += 1
        self._send(arrival)

    def close(self) -> None:
        """Finish the stream, if its receiver is still there; a file that never got a frame is removed."""
        with contextlib.suppress(av.FFmpegError, OSError):
            if self.num_frames:
                self._mux(self._video.encode(None))
                self._drain_sound()
        with contextlib.suppress(av.FFmpegError, OSError):
            self._container.close()
        if not self.num_frames and self._target.is_file:
            with contextlib.suppress(OSError):
                os.remove(self._target.path)

    def _send(self, arrival: Arrival) -> None:
        frame = self._frame
        assert frame is not None
        if self._origin is None:
            self._origin = 0 if is_network(self._target.path) else arrival.ticks
        if self._target.has_clock:
            self._encode(frame, arrival.ticks - self._origin)
            self._drain_sound()
        else:
            self._send_evenly(frame, arrival.ticks - self._origin)
        self.num_frames += 1
        self.latency.add(now() - arrival.arrived)

    def _send_evenly(self, frame: VideoFrame, ticks: int) -> None:
        """Frames without timestamps follow at a fixed rate: gaps are filled, frames too many are left out."""
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

    def _drain_sound(self) -> None:
        while self._sound:
            ticks, packet = self._sound.popleft()
            ticks -= self._origin or 0
            if self._audio is None or ticks <= self._last_sound:
                continue
            self._last_sound = ticks
            packet.stream = self._audio
            packet.pts = packet.dts = ticks
            packet.time_base = self._spec.time_base
            with contextlib.suppress(av.InvalidDataError, av.ArgumentError):
                self._container.mux(packet)
