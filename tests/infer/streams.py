"""Real streams on 127.0.0.1 whose frames carry their number as a picture, so that each can be timed end to end."""

import socket
import threading
import time
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np

SIZE = (64, 48)
BITS, BLOCK = 10, 12
PLACES = [(row * BLOCK, column * BLOCK) for row in (0, 1) for column in range(5)]
"""Where the bits lie, in pixels; the rest of the picture moves."""


def numbered(number: int) -> np.ndarray:
    """A frame [48, 64, 3] that says its number modulo 1024 in black and white blocks."""
    picture = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:] = (64 + 2 * ((np.arange(SIZE[0]) + number) % 64))[None, :, None]
    for bit, (top, left) in enumerate(PLACES):
        picture[top : top + BLOCK, left : left + BLOCK] = 235 if number >> bit & 1 else 16
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number that an upscaled frame says; even random weights keep the mean of a block."""
    scale = picture.shape[0] // SIZE[1]
    inner = [np.array(place) * scale + 2 * scale for place in PLACES]
    wide = (BLOCK - 4) * scale
    return sum(
        int(picture[top : top + wide, left : left + wide].mean() > 128) << bit
        for bit, (top, left) in enumerate(inner)
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at the moment, for TCP as well as UDP."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


class _Thread:
    """A thread with an end and with its error, if it had one."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop.set()
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


class Sender(_Thread):
    """A camera: H.264 without delay in MPEG-TS to ``url``, in real time, until it is stopped.

    sent: when each frame left, by its number. still: every frame shows the first picture. count: frames at most.
    """

    def __init__(
        self, url: str, fps: int = 25, first: int = 0, count: int = 100_000, still: bool = False,
        audio: bool = False,
    ) -> None:  # fmt: skip
        self._url, self._fps, self._numbers, self._still = url, fps, range(first, first + count), still
        self._audio = audio
        self.sent: dict[int, float] = {}
        super().__init__()

    def _run(self) -> None:
        options = {"omit_video_pes_length": "0", "flush_packets": "1", "max_interleave_delta": "1"}
        with av.open(self._url, "w", format="mpegts", options=options) as output:
            video = output.add_stream(
                "libx264", rate=self._fps, options={"preset": "ultrafast", "tune": "zerolatency"}
            )
            video.width, video.height = SIZE
            video.pix_fmt, video.gop_size = "yuv420p", self._fps // 2
            sound = output.add_stream("aac", rate=8000) if self._audio else None
            begun = time.monotonic()
            for place, number in enumerate(self._numbers):
                if self.stop.wait(max(0.0, begun + place / self._fps - time.monotonic())):
                    break
                frame = av.VideoFrame.from_ndarray(numbered(self._numbers[0] if self._still else number))
                frame.pts, frame.time_base = place, Fraction(1, self._fps)
                self.sent[number] = time.monotonic()
                output.mux(video.encode(frame))
                if sound is not None:
                    output.mux(sound.encode(_tone(place, self._fps)))


def _tone(place: int, fps: int) -> av.AudioFrame:
    count = 8000 // fps
    samples = 0.3 * np.sin(np.arange(place * count, (place + 1) * count) * 0.3)
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
    frame.rate, frame.pts, frame.time_base = 8000, place * count, Fraction(1, 8000)
    return frame


class Receiver(_Thread):
    """A viewer of ``url``: (number, seconds of its timestamp, moment) of every frame it could decode."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self._url, self._timeout = url, timeout
        self.seen: list[tuple[int, float, float]] = []
        super().__init__()

    def _run(self) -> None:
        options = {"fflags": "nobuffer+noparse", "probesize": "200000", "analyzeduration": "200000"}
        with av.open(self._url, options=options, timeout=self._timeout) as source:
            stream = source.streams.video[0]
            stream.thread_type = "SLICE"
            for frame in source.decode(stream):
                moment = time.monotonic()
                picture = frame.to_ndarray(format="rgb24")
                self.seen.append((number_of(picture), float(frame.pts * frame.time_base), moment))
                if self.stop.is_set():
                    return
