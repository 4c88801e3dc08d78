"""Frames of a live source with the moment they arrived; a source that is lost is opened
again.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

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
from infer.sources.info import DEFAULT_LIMITS, Limits, VideoInfo
from infer.sources.network import is_network
from infer.sources.opener import check_pixels, limit_pixels, open_input, reason
from infer.sources.probe import choose_stream, describe

# Seconds between attempts to reconnect: doubled each time, up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
# Audio packets that wait for the picture at most.
MAX_SOUND = 2000
# Packets whose arrival is kept until their picture comes; no decoder holds as many.
REMEMBERED = 256


@dataclass(frozen=True)
class LiveSettings:
    """How a live source is read.

    stream: index of the video stream; None takes the first. timeout: seconds to wait
    for the source to open, for each read and for each picture. patience: seconds in
    which a lost source may come back; 0 ends with it. is_paced: frames are handed out
    no earlier than their timestamps say.
    """

    stream: int | None = None
    timeout: float = 10.0
    patience: float = 30.0
    limits: Limits = DEFAULT_LIMITS
    deinterlace: bool = False
    is_paced: bool = False


class Arrival(NamedTuple):
    """A picture or a packet of sound, with `time.monotonic` of its bytes' arrival."""

    item: VideoFrame | Packet
    moment: float


class Connection:
    """One opened container.

    Its first frame is decoded on opening, so that ``info`` is known.
    """

    def __init__(
        self, address: InputAddress, settings: LiveSettings, damage: Damage
    ) -> None:
        self._address = address
        self._settings = settings
        self._damage = damage
        self._moments: dict[int, float] = {}
        self._last_picture = now()
        self._container = self._open()
        try:
            path = address.path
            self._video = choose_stream(self._container, path, settings.stream)
            # Frame threads would hold frames back.
            self._video.thread_type = "SLICE"
            sounds = self._container.streams.audio
            self.sound: AudioStream | None = sounds[0] if sounds else None
            self._arrivals = self._decode()
            self._first, picture = self._first_picture()
            self.info = describe(
                self._container, self._video, picture, path, settings.limits
            )
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> InputContainer:
        address = self._address
        settings = self._settings
        if address.is_file:
            return open_input(address.path, settings.limits)
        limits = {"max_pixels": str(settings.limits.max_pixels)}
        timeout = (settings.timeout, settings.timeout)
        container = av.open(
            address.url,
            format=address.format,
            options=address.options | limits,
            metadata_errors="replace",
            # A pipe may be silent until somebody starts the program before it.
            timeout=timeout if is_network(address.url) else None,
        )
        try:
            limit_pixels(container, address.path, settings.limits)
        except BaseException:
            # Or the camera or the port stays taken until Python collects it.
            container.close()
            raise
        return container

    def _first_picture(self) -> tuple[Arrival, VideoFrame]:
        # Sound before it would lie before the output's beginning, and is left out.
        for arrival in self._arrivals:
            if isinstance(arrival.item, VideoFrame):
                return arrival, arrival.item
        raise JobError(f"{self._address.path}: ended before its first frame")

    def arrivals(self) -> Iterator[Arrival]:
        """Returns frames and audio packets as they come."""
        yield self._first
        yield from self._arrivals

    def seconds(self, pts: int | None) -> Fraction | None:
        """Returns a timestamp of the video stream in seconds."""
        if pts is None or self._video.time_base is None:
            return None
        return pts * self._video.time_base

    def close(self) -> None:
        """Closes the container."""
        self._container.close()

    def _decode(self) -> Iterator[Arrival]:
        streams: list[VideoStream | AudioStream] = [self._video]
        if self.sound is not None:
            streams.append(self.sound)
        # Opening has a time-out of its own.
        self._last_picture = now()
        for packet in self._container.demux(streams):
            moment = now()
            if packet.stream is not self._video:
                if packet.size:
                    yield Arrival(packet, moment)
                continue
            self._remember(packet.pts, moment)
            for frame in self._frames_of(packet):
                check_pixels(
                    self._address.path, frame.width, frame.height, self._settings.limits
                )
                yield Arrival(frame, self._moment_of(frame, moment))
                # Behind the yield: the time in which nobody asked does not count.
                self._last_picture = now()
            self._check_pictures_come()

    def _frames_of(self, packet: Packet) -> list[VideoFrame]:
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            self._damage.note(error)
            return []
        return [frame for frame in frames if isinstance(frame, VideoFrame)]

    def _check_pictures_come(self) -> None:
        """A stream may go on for ever without a picture that can be decoded."""
        silence = now() - self._last_picture
        if is_network(self._address.url) and silence > self._settings.timeout:
            raise NoPicture(
                f"no picture could be decoded for {self._settings.timeout:g} s"
            )

    def _remember(self, pts: int | None, moment: float) -> None:
        if pts is None:
            return
        self._moments[pts] = moment
        # Damaged packets never become a picture that takes its moment away.
        if len(self._moments) > REMEMBERED:
            oldest = next(iter(self._moments))
            del self._moments[oldest]

    def _moment_of(self, frame: VideoFrame, default: float) -> float:
        if frame.pts is None:
            return default
        return self._moments.pop(frame.pts, default)


class NoPicture(OSError):
    """A stream goes on, but without a picture."""


class LiveSource:
    """Frames on one unbroken clock.

    `sound` holds the audio packets that came with them, already on that clock. tell:
    gets a line when the source is lost and when it is back.
    """

    def __init__(
        self,
        address: InputAddress,
        settings: LiveSettings,
        stop: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        self._address = address
        self._settings = settings
        self._stop = stop
        self._tell = tell
        self.damage = Damage()
        self._connection: Connection | None = self._connect_first()
        info = self._connection.info
        self.info: VideoInfo = info
        self.audio = self._connection.sound
        self.sound: deque[tuple[int, Packet]] = deque(maxlen=MAX_SOUND)
        self.clock = Clock(info.time_base, info.frame_duration)
        deep = info.layout.is_deep
        self._convert = ToRGB(
            info.width, info.height, deep, info.matrix, settings.deinterlace
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

    def _connect(self) -> Connection:
        return Connection(self._address, self._settings, self.damage)

    def _connect_first(self) -> Connection:
        try:
            return self._connect()
        except (av.FFmpegError, OSError) as error:
            hint = ""
            if self._address.path == PIPE:
                hint = ": expected a y4m stream, or raw RGB with --input-size"
            raise JobError(
                f"{self._address.path}: cannot be opened ({explain(error)}){hint}"
            ) from None

    def _frames(self) -> Iterator[Frame]:
        """Frames of one connection; the first of them is fresh."""
        connection = self._connection
        assert connection is not None
        # A deinterlacer hands out every picture one frame late.
        pending = deque[tuple[int, float]]()
        is_fresh = True
        pace = Pace() if self._settings.is_paced else None
        for item, moment in connection.arrivals():
            if isinstance(item, Packet):
                self._keep_sound(item)
                continue
            ticks = self.clock.ticks(connection.seconds(item.pts))
            if pace is not None:
                seconds = float(ticks * self.clock.base)
                due = pace.wait(seconds, self._stop)
                # Of a file, latency counts from when the frame was due.
                moment = max(moment, due)
            pending.append((ticks, moment))
            for rgb in self._convert.convert(item):
                yield self._frame(rgb, *pending.popleft(), is_fresh)
                is_fresh = False
        for rgb in self._convert.flush():
            yield self._frame(rgb, *pending.popleft(), is_fresh)

    def _frame(
        self, rgb: np.ndarray, ticks: int, moment: float, is_fresh: bool
    ) -> Frame:
        index = self._num_frames
        self._num_frames += 1
        return Frame(rgb, ticks, self.info.frame_duration, index, moment, is_fresh)

    def _keep_sound(self, packet: Packet) -> None:
        if packet.pts is None or not packet.time_base:
            return
        ticks = self.clock.beside(packet.pts * packet.time_base)
        if ticks is not None and self.audio is not None:
            self.sound.append((ticks, packet))

    def _comes_back(self, why: str) -> bool:
        """Tries again and again; False if the source had simply ended."""
        address = self._address
        patience = self._settings.patience
        # A list over HTTP that ends without an error was complete.
        if not address.lasts or (address.waits and not why):
            if why:
                raise JobError(f"{address.path}: {why}")
            return False
        if patience:
            self._tell(
                f"live     {address.path} is lost ({why or 'it ended'}), "
                f"trying for {patience:g} s"
            )
        if self._reconnect():
            self.num_reconnects += 1
            self._tell(f"live     {address.path} is back")
            return True
        if why and not self._stop.is_set():
            raise JobError(
                f"{address.path}: lost ({why}) and not back within {patience:g} s"
            )
        return False

    def _reconnect(self) -> bool:
        deadline = now() + self._settings.patience
        wait = FIRST_WAIT
        while now() + wait < deadline and not self._stop.wait(wait):
            try:
                self._connection = self._connect()
                return True
            except (av.FFmpegError, OSError, JobError):
                wait = min(2 * wait, LONGEST_WAIT)
        return False


class Pace:
    """Holds frames back until their time, counted from the first."""

    LATEST = 1
    """Seconds; a source that fell further behind begins anew, not at double speed."""

    def __init__(self) -> None:
        self._zero: float | None = None

    def wait(self, seconds: float, stop: threading.Event) -> float:
        """Sleeps until the frame is due; returns that moment."""
        moment = now()
        if self._zero is None or moment - self._zero - seconds > self.LATEST:
            self._zero = moment - seconds
        due = self._zero + seconds
        if due > moment:
            stop.wait(due - moment)
        return due


def explain(error: BaseException) -> str:
    """Returns words for a lost or absent source."""
    if isinstance(error, av.ProtocolNotFoundError):
        return "this build of FFmpeg does not know the protocol"
    return reason(error)
