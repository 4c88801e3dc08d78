"""Real streams on 127.0.0.1 whose frames carry their number as a picture, so that each
can be timed end to end.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from types import SimpleNamespace, TracebackType
from typing import Any, Self, TypeVar

import av
import numpy as np
from av.container import OutputContainer

T = TypeVar("T")
# Packets of 188 bytes: 18 MiB of stream wait where a receiver is late.
UDP_IN = "fifo_size=100000&overrun_nonfatal=1"
"""Options of a udp:// input that outlast a busy machine."""
SIZE = (64, 48)
# Bits of the number, and the pixels of a block, of which five are 60 of the 64 columns.
BITS, BLOCK = 10, 12
PLACES = [
    (row * BLOCK, column * BLOCK) for row in (0, 1) for column in range(BITS // 2)
]
"""Where the bits lie, in pixels; the rest of the picture moves."""


def numbered(number: int) -> np.ndarray:
    """A frame [48, 64, 3] that tells its number, modulo 1024, in blocks of black."""
    picture = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:] = (64 + 2 * ((np.arange(SIZE[0]) + number) % 64))[None, :, None]
    for bit, (top, edge) in enumerate(PLACES):
        # White and black of limited range, which no conversion clips.
        picture[top : top + BLOCK, edge : edge + BLOCK] = (
            235 if number >> bit & 1 else 16
        )
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that an upscaled frame says; even random weights keep the mean of a
    block.
    """
    scale = picture.shape[0] // SIZE[1]
    # Two pixels at every border are left out: coding and upscaling blur them.
    wide = (BLOCK - 4) * scale
    corners = [((top + 2) * scale, (edge + 2) * scale) for top, edge in PLACES]
    return sum(
        int(picture[top : top + wide, edge : edge + wide].mean() > 128) << bit
        for bit, (top, edge) in enumerate(corners)
    )


def numbers_in(path: str, **options: Any) -> list[tuple[int, float]]:
    """(number, seconds) of every frame of a recording."""
    with av.open(path, **options) as source:
        return [
            (number_of(f.to_ndarray(format="rgb24")), float(f.time or 0))
            for f in source.decode(video=0)
        ]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at the moment, for TCP as well as UDP."""
    with (
        socket.socket() as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


class Background:
    """A thread with an end and with its error, if it had one."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop.set()
        # It looks at its event between two frames; thirty seconds are for a busy
        # machine.
        self._thread.join(30)

    def join(self, seconds: float) -> bool:
        """Whether it ended in that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error

    def _run(self) -> None:
        raise NotImplementedError

    def _patiently(self, action: Callable[[], T]) -> T:
        """Its result, tried again and again until the other side is there."""
        while True:
            try:
                return action()
            except ConnectionError:
                # Twenty tries a second.
                if self.stop.wait(0.05):
                    raise


class Sender(Background):
    """A camera: H.264 without delay to ``url`` until it is stopped or ``count`` frames
    are sent.

    sent: when each frame left, by its number. still: every frame shows the first
    picture. speed: 1 is real time.
    """

    def __init__(
        self,
        url: str,
        fps: int = 25,
        first: int = 0,
        count: int = 100_000,
        *,
        still: bool = False,
        audio: bool = False,
        speed: float = 1.0,
        muxer: str = "mpegts",
    ) -> None:
        self._url = url
        self._fps = fps
        self._numbers = range(first, first + count)
        self._muxer = muxer
        self._still = still
        self._audio = audio
        self._speed = speed
        self.sent: dict[int, float] = {}
        super().__init__()

    def _run(self) -> None:
        at_once = {
            # A packet whose length is said leaves when it is complete, not when the
            # next begins.
            "omit_video_pes_length": "0",
            "flush_packets": "1",
            "max_interleave_delta": "1",
        }
        options = at_once if self._muxer == "mpegts" else {}
        with ExitStack() as stack:
            target: Any = self._url
            if self._url.startswith(
                "tcp://"
            ):  # FFmpeg would keep all of Python waiting until it is connected
                host, port = self._url.removeprefix("tcp://").split(":")
                line = stack.enter_context(
                    self._patiently(lambda: socket.create_connection((host, int(port))))
                )
                target = SimpleNamespace(
                    write=lambda data: line.sendall(data) or len(data)
                )
            output = stack.enter_context(
                av.open(target, "w", format=self._muxer, options=options)
            )
            for _ in self._send(output):
                if self.stop.is_set():
                    break

    def _send(self, output: OutputContainer) -> Iterator[int]:
        video = add_video(output, self._fps)
        sound = output.add_stream("aac", rate=8000) if self._audio else None
        start_time = time.monotonic()
        for place, number in enumerate(self._numbers):
            self.stop.wait(
                max(
                    0.0, start_time + place / self._fps / self._speed - time.monotonic()
                )
            )
            frame = av.VideoFrame.from_ndarray(
                numbered(self._numbers[0] if self._still else number)
            )
            frame.pts = place
            frame.time_base = Fraction(1, self._fps)
            self.sent[number] = time.monotonic()
            output.mux(video.encode(frame))
            if sound is not None:
                output.mux(sound.encode(_tone(place, self._fps)))
            yield number


def add_video(output: OutputContainer, fps: int) -> Any:
    """An H.264 stream that holds no frame back."""
    video = output.add_stream(
        "libx264", rate=fps, options={"preset": "ultrafast", "tune": "zerolatency"}
    )
    video.width, video.height = SIZE
    video.pix_fmt = "yuv420p"
    # Two I-frames a second, so that a receiver sees a picture soon.
    video.gop_size = max(1, fps // 2)
    return video


def _tone(place: int, fps: int) -> av.AudioFrame:
    count = 8000 // fps
    samples = 0.3 * np.sin(np.arange(place * count, (place + 1) * count) * 0.3)
    frame = av.AudioFrame.from_ndarray(
        samples[None].astype(np.float32), format="fltp", layout="mono"
    )
    frame.rate = 8000
    frame.pts = place * count
    frame.time_base = Fraction(1, 8000)
    return frame


def record(
    path: str, count: int, fps: int = 25, muxer: str | None = None, **options: str
) -> str:
    """A file of numbered frames; returns its path."""
    with av.open(path, "w", format=muxer, options=options) as output:
        video = add_video(output, fps)
        for number in range(count):
            output.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number))))
        output.mux(video.encode(None))
    return path


class Receiver(Background):
    """A viewer of ``url``: (number, seconds of its timestamp, moment) of every frame it
    could decode.

    It waits a minute for the stream and leaves when nothing has come for three seconds.
    """

    def __init__(self, url: str, count: int = 1_000_000) -> None:
        self._url = url
        self._count = count
        self.seen: list[tuple[int, float, float]] = []
        super().__init__()

    def _run(self) -> None:
        options = {
            # A parser would hold back each frame until the next one begins.
            "fflags": "noparse",
            "probesize": "200000",
            "analyzeduration": "200000",
        }
        with self._patiently(
            lambda: av.open(self._url, options=options, timeout=(60, 3))
        ) as source:
            stream = source.streams.video[0]
            # Threads by frame would hold back as many frames as there are threads.
            stream.thread_type = "SLICE"
            for frame in source.decode(stream):
                moment = time.monotonic()
                picture = frame.to_ndarray(format="rgb24")
                self.seen.append(
                    (number_of(picture), float(frame.pts * frame.time_base), moment)
                )
                if self.stop.is_set() or len(self.seen) >= self._count:
                    return
