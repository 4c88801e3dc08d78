"""Real streams on this machine: a sender and a receiver that note when each frame left and came."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from clips import pictures, tone

FPS = 25
SIZE = (64, 48)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def when_there(url: str, **given: Any) -> Any:
    """Open for reading, as soon as the other side listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return av.open(url, **given)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Sender(threading.Thread):
    """Sends MPEG-TS in real time until stopped; `sent[i]` is the `time.monotonic` before frame i is encoded.

    still: every frame is the same picture. sound: with a tone beside the picture. first: number of the first frame.
    """

    def __init__(
        self, url: str, still: bool = False, sound: bool = False, fps: int = FPS, size: tuple[int, int] = SIZE,
        first: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        self._url, self._still, self._sound, self._fps, self._size = url, still, sound, fps, size
        self._first = first
        self._stopped = threading.Event()
        self.sent: dict[int, float] = {}

    def run(self) -> None:
        while not self._stopped.wait(0.1):
            try:
                self._send()
                return
            except ConnectionRefusedError:
                continue  # nobody listens yet; PyAV connects with the first packet
            except av.FFmpegError:
                return  # the receiver is gone

    def _send(self) -> None:
        with av.open(self._url, "w", format="mpegts") as output:
            video = output.add_stream(
                "libx264", rate=self._fps, options={"preset": "ultrafast", "tune": "zerolatency"}
            )
            video.width, video.height, video.pix_fmt = *self._size, "yuv420p"
            video.gop_size, video.codec_context.thread_count = 10, 1
            audio = output.add_stream("aac", rate=8000) if self._sound else None
            tones = tone(audio.codec_context, 100_000) if audio is not None else iter(())
            looped = list(pictures(10, *self._size))
            begin, samples = time.monotonic(), 0
            for index in range(self._first, 1_000_000):
                due = begin + (index - self._first) / self._fps
                if self._stopped.wait(max(0.0, due - time.monotonic())):
                    break
                frame = av.VideoFrame.from_ndarray(looped[0 if self._still else index % 10])
                frame.pts, frame.time_base = index, Fraction(1, self._fps)
                self.sent[index] = time.monotonic()
                output.mux(video.encode(frame))
                while audio is not None and samples < (index + 1) * 8000 / self._fps:
                    samples += 1024
                    output.mux(audio.encode(next(tones)))

    def stop(self) -> None:
        """End the stream."""
        self._stopped.set()
        self.join(10)


class Receiver(threading.Thread):
    """Plays MPEG-TS; `came[i]` is the `time.monotonic` at which the frame of time i/fps was decoded."""

    def __init__(self, url: str, fps: int = FPS, timeout: float = 60.0) -> None:
        super().__init__(daemon=True)
        self._url, self._fps, self._timeout = url, fps, timeout
        self._stopped = False
        self.came: dict[int, float] = {}
        self.sound = 0

    def run(self) -> None:
        # Timestamps of frames, not of a parser that waits for the next: the measuring instrument adds nothing.
        options = {"fflags": "noparse"}
        with (
            contextlib.suppress(av.FFmpegError),
            when_there(self._url, options=options, timeout=(self._timeout, 3.0)) as stream,
        ):
            stream.streams.video[0].thread_type = "SLICE"
            for packet in stream.demux():
                if self._stopped:
                    return
                if packet.stream.type == "audio":
                    self.sound += packet.size > 0
                for frame in packet.decode() if packet.stream.type == "video" else ():
                    assert isinstance(frame, av.VideoFrame)
                    self.came[round(frame.pts * frame.time_base * self._fps)] = time.monotonic()

    def wait_for(self, frames: int, seconds: float = 60.0) -> None:
        """Until that many frames came."""
        deadline = time.monotonic() + seconds
        while len(self.came) < frames:
            assert time.monotonic() < deadline, f"only {len(self.came)} of {frames} frames came in {seconds} s"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop playing."""
        self._stopped = True
        self.join(10)


@contextlib.contextmanager
def running(*parts: Sender | Receiver) -> Iterator[None]:
    """Start them, and stop them whatever happens."""
    for part in parts:
        part.start()
    try:
        yield
    finally:
        for part in parts:
            part.stop()


def decoded(path: str) -> list[tuple[Fraction, np.ndarray]]:
    """(seconds, rgb) of all frames of a file."""
    with av.open(path) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
