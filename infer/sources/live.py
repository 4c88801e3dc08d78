"""Frames of a live source with the moment they arrived; a source that is lost is opened
again.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infer.colours import ToRGB
from infer.errors import JobError
from infer.frame import Frame
from infer.latency import now
from infer.sources.address import PIPE, InputAddress
from infer.sources.clock import Clock
from infer.sources.files import Damage
from infer.sources.info import VideoInfo
from infer.sources.network import MAX_PIXELS, is_network
from infer.sources.opener import open_local, trust
from infer.sources.probe import choose_stream, describe, reason

FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds between attempts to reconnect: doubled each time, up to the longest."""
MAX_SOUND = 2000
"""Audio packets that wait for the picture at most."""
REMEMBERED = 256


class Connection:
    """One opened container; its first frame is decoded on opening, so that ``info`` is
    known.
    """

    def __init__(
        self,
        source: InputAddress,
        damage: Damage,
        stream: int | None,
        timeout: float,
        trusted: bool,
    ) -> None:
        self._source, self._damage = source, damage
        self._arrived: dict[int, float] = {}
        self._container = self._open(timeout, trusted)
        try:
            self._video = choose_stream(self._container, source.path, stream)
            self._video.thread_type = "SLICE"  # frame threads would hold frames back
            self.sound: AudioStream | None = next(
                iter(self._container.streams.audio), None
            )
            self._items = self._decode()
            self._first = next(
                (item for item in self._items if isinstance(item[0], VideoFrame)), None
            )
            if self._first is None:
                raise JobError(f"{source.path}: ended before its first frame")
            self.info = describe(
                self._container, self._video, self._first[0], source.path
            )
        except BaseException:
            self._container.close()
            raise

    def _open(self, timeout: float, trusted: bool) -> InputContainer:
        source = self._source
        if trusted:
            trust(source.path)
        if source.format is None and not is_network(source.url):
            return open_local(source.url)
        return av.open(
            source.url,
            format=source.format,
            options=source.options,
            metadata_errors="replace",
            timeout=(timeout, timeout) if is_network(source.url) else None,
        )

    def items(self) -> Iterator[tuple[VideoFrame, float] | tuple[Packet, float]]:
        """Frames and audio packets as they come, with the `time.monotonic` of their
        bytes' arrival.
        """
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._items

    def seconds(self, pts: int | None) -> Fraction | None:
        """A timestamp of the video stream in seconds."""
        return (
            None
            if pts is None or self._video.time_base is None
            else pts * self._video.time_base
        )

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[Any]:
        streams: list[VideoStream | AudioStream] = [
            self._video,
            *([self.sound] if self.sound else []),
        ]
        for packet in self._container.demux(streams):
            moment = now()
            if packet.stream is not self._video:
                if packet.size:
                    yield packet, moment
                continue
            if packet.pts is not None:
                self._arrived[packet.pts] = moment
                if len(self._arrived) > REMEMBERED:
                    del self._arrived[next(iter(self._arrived))]
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if not isinstance(error, av.InvalidDataError):
                    raise
                self._damage.note(error)
                continue
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    self._check_size(frame)
                    yield (
                        frame,
                        self._arrived.pop(frame.pts, moment)
                        if frame.pts is not None
                        else moment,
                    )

    def _check_size(self, frame: VideoFrame) -> None:
        if frame.width * frame.height > MAX_PIXELS:
            raise JobError(
                f"{self._source.path}: frames of {frame.width}x{frame.height}, refused beyond "
                f"{MAX_PIXELS} pixels"
            )


class LiveSource:
    """Frames on one unbroken clock. `sound` holds the audio packets that came with
    them, already on that clock.

    timeout: seconds to wait for the source to open and for each read. patience: seconds
    in which a lost source may come back; 0 ends with it. paced: frames are handed out
    no earlier than their timestamps say.
    """

    def __init__(
        self,
        source: InputAddress,
        stop: threading.Event,
        say: Callable[[str], None],
        *,
        stream: int | None = None,
        timeout: float = 10.0,
        patience: float = 30.0,
        trusted: bool = False,
        deinterlace: bool = False,
        paced: bool = False,
    ) -> None:
        self._source, self._stop, self._say = source, stop, say
        self.damage = Damage()
        self._settings = (self.damage, stream, timeout, trusted)
        self._patience, self._paced = patience, paced
        try:
            self._connection: Connection | None = Connection(source, *self._settings)
        except (av.FFmpegError, OSError) as error:
            hint = (
                ": expected a y4m stream, or raw RGB with --input-size"
                if source.path == PIPE
                else ""
            )
            raise JobError(
                f"{source.path}: cannot be opened ({explain(error)}){hint}"
            ) from None
        self.info: VideoInfo = self._connection.info
        self.audio = self._connection.sound
        self.sound: deque[tuple[int, Packet]] = deque(maxlen=MAX_SOUND)
        info = self.info
        self.clock = Clock(info.time_base, info.frame_duration)
        self._convert = ToRGB(
            info.width, info.height, info.layout.is_deep, info.matrix, deinterlace
        )
        self.num_reconnects = 0
        self._num_frames = 0

    @property
    def num_resized(self) -> int:
        """Frames of another size than the first; they were scaled to it."""
        return self._convert.num_resized

    def frames(self) -> Iterator[Frame]:
        """Returns all frames, across reconnections.

        JobError if the source is lost for good.
        """
        while True:
            why = ""
            last = now()
            try:
                for frame in self._frames():
                    last = now()
                    yield frame
            except (av.FFmpegError, OSError) as error:
                why = explain(error)
            finally:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            if self._stop.is_set() or not self._comes_back(why):
                return
            self.clock.reconnect(now() - last)

    def _frames(self) -> Iterator[Frame]:
        """Frames of one connection; the first of them is fresh."""
        connection = self._connection
        assert connection is not None
        # A deinterlacer hands out every picture one frame late.
        waiting = deque[tuple[int, float]]()
        is_fresh = True
        pace = Pace() if self._paced else None
        for item, arrived in connection.items():
            if isinstance(item, Packet):
                self._keep_sound(item)
                continue
            ticks = self.clock.ticks(connection.seconds(item.pts))
            if pace is not None:
                due = pace.wait(float(ticks * self.clock.base), self._stop)
                arrived = max(arrived, due)
            waiting.append((ticks, arrived))
            for rgb in self._convert.convert(item):
                yield self._frame(rgb, *waiting.popleft(), is_fresh)
                is_fresh = False
        for rgb in self._convert.flush():
            yield self._frame(rgb, *waiting.popleft(), is_fresh)

    def _frame(
        self, rgb: np.ndarray, ticks: int, arrived: float, is_fresh: bool
    ) -> Frame:
        index = self._num_frames
        self._num_frames += 1
        return Frame(rgb, ticks, self.info.frame_duration, index, arrived, is_fresh)

    def _keep_sound(self, packet: Packet) -> None:
        if packet.pts is not None and packet.time_base:
            ticks = self.clock.beside(packet.pts * packet.time_base)
            if ticks is not None and self.audio is not None:
                self.sound.append((ticks, packet))

    def _comes_back(self, why: str) -> bool:
        """Try again and again; False if the source had simply ended and there is
        nothing more.
        """
        source = self._source
        if not source.lasts or (source.waits and not why):
            if why:
                raise JobError(f"{source.path}: {why}")
            return False
        if self._patience:
            self._say(
                f"live     {source.path} is lost ({why or 'it ended'}), trying for {self._patience:g} s"
            )
        deadline, wait = now() + self._patience, FIRST_WAIT
        while now() + wait < deadline and not self._stop.wait(wait):
            try:
                self._connection = Connection(source, *self._settings)
            except (av.FFmpegError, OSError, JobError):
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            self.num_reconnects += 1
            self._say(f"live     {source.path} is back")
            return True
        if why and not self._stop.is_set():
            raise JobError(
                f"{source.path}: lost ({why}) and not back within {self._patience:g} s"
            )
        return False


class Pace:
    """Holds frames back until their time, counted from the first."""

    def __init__(self) -> None:
        self._zero: float | None = None

    def wait(self, seconds: float, stop: threading.Event) -> float:
        """Sleep until the frame is due; returns that moment."""
        moment = now()
        if (
            self._zero is None or moment - self._zero - seconds > 1
        ):  # a source that fell behind begins anew
            self._zero = moment - seconds
        due = self._zero + seconds
        if due > moment:
            stop.wait(due - moment)
        return due


def explain(error: BaseException) -> str:
    """Words for a lost or missing source."""
    if isinstance(error, av.ExitError):
        return "nothing came in time"
    if isinstance(error, av.ProtocolNotFoundError):
        return "this build of FFmpeg does not know the protocol"
    return reason(error)
