"""Frames of files for the page: found by number, decoded to the pixels that the command
sees, turned into lossless pictures.
"""

import bisect
import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from infer.colours import ToRGB
from infer.sources.files import Damage, decode_stream
from infer.sources.info import VideoInfo
from infer.sources.opener import open_input
from infer.sources.probe import probe
from infer.ui.refusal import Refusal
from infer.ui.schemas import Clip

HDR_NAMES = {16: "PQ", 18: "HLG"}
"""H.273 transfer characteristics that a page cannot show as they are."""
NEAR = 48
"""Frames: decoding on is quicker than going back to a key frame up to about here."""


def describe_file(path: str) -> Clip:
    """Returns facts about a video; JobError or ValueError if it cannot be decoded."""
    return describe(probe(path))


def describe(info: VideoInfo) -> Clip:
    """Returns the facts that the page needs."""
    rotation, mirrored = orientation(info.display_matrix)
    return Clip(
        width=info.width,
        height=info.height,
        frames=info.num_frames,
        rate=float(info.rate),
        codec=info.codec,
        bits=info.layout.bits,
        rotation=rotation,
        mirrored=mirrored,
        aspect=float(info.sar or Fraction(1)),
        hdr=HDR_NAMES.get(info.color.transfer, ""),
    )


def orientation(matrix: tuple[int, ...] | None) -> tuple[int, bool]:
    """Returns clockwise degrees (0, 90, 180, 270), and whether the picture is mirrored
    left to right before it is turned.
    """
    if matrix is None:
        return 0, False
    a, b, _, c, d = matrix[:5]
    mirrored = a * d - b * c < 0
    across = -a if mirrored else a
    down = -b if mirrored else b
    degrees = math.degrees(math.atan2(down, across))
    quarters = round(degrees / 90) % 4
    return quarters * 90, mirrored


class Reader:
    """Random access to the frames of one file, by number in order of display.

    A frame is found by its timestamp: the decoder begins at the key frame before it, so
    that clips of variable rate are exact, and long ones quick.
    """

    def __init__(self, path: str) -> None:
        self.info = probe(path)
        self._lock = threading.Lock()
        self._times, self._keys = _list_times(path, self.info.stream)
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._next = 0
        self._converter = ToRGB(
            self.info.width,
            self.info.height,
            self.info.layout.is_deep,
            self.info.matrix,
        )

    @property
    def num_frames(self) -> int:
        """Frames that the file lists."""
        return len(self._times)

    @property
    def seconds(self) -> list[float]:
        """When each frame is shown, from the first one on."""
        base = self.info.time_base
        origin = self._times[0] if self._times else 0
        return [float((time - origin) * base) for time in self._times]

    def rgb(self, number: int) -> np.ndarray:
        """Returns a frame, uint8 or uint16 [h, w, 3]; a Refusal if there is none."""
        if not 0 <= number < self.num_frames:
            last = self.num_frames - 1
            raise Refusal(404, f"There is no frame {number}: the last one is {last}.")
        with self._lock:
            frame = self._decode(number)
            for rgb in self._converter.convert(frame):
                return rgb
        raise Refusal(422, f"Frame {number} could not be converted.")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._forget()

    def _decode(self, number: int) -> VideoFrame:
        is_near = self._next <= number < self._next + NEAR
        if not is_near or self._container is None:
            self._go_to(number)
        wish = self._times[number]
        for frame in self._frames:
            time = frame.pts
            if time is None or time >= wish:
                self._next = number + 1
                return frame
        self._forget()
        raise Refusal(422, f"Frame {number} could not be decoded: the file is damaged.")

    def _go_to(self, number: int) -> None:
        self._forget()
        self._container = open_input(self.info.path)
        time = self._times[number]
        place = bisect.bisect_right(self._keys, time) - 1
        if place > 0:
            stream = self._container.streams[self.info.stream]
            # Raw streams cannot seek: they are decoded from the beginning.
            with contextlib.suppress(av.FFmpegError):
                self._container.seek(self._keys[place], stream=stream)
        self._frames = decode_stream(self._container, self.info.stream, Damage())
        self._next = number

    def _forget(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = None
        self._next = 0


def _list_times(path: str, stream: int) -> tuple[list[int], list[int]]:
    """Returns the timestamps of all frames and of the key frames, in order of display;
    nothing is decoded.
    """
    times: list[int] = []
    keys: list[int] = []
    with open_input(path) as container:
        for packet in container.demux(container.streams[stream]):
            # edit lists hide frames that are only there to be referred to
            if packet.pts is None or packet.is_discard:
                continue
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    # Packets come in the order in which they are decoded.
    return sorted(set(times)), sorted(set(keys))


class Library:
    """Readers and frames that were used last; safe for threads."""

    READERS = 6
    FRAMES = 24

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: OrderedDict[Any, Reader] = OrderedDict()
        self._frames: OrderedDict[Any, np.ndarray] = OrderedDict()

    def reader(self, path: str, state: tuple[int, int]) -> Reader:
        """Returns the reader of a file; state: size and time of its last change."""
        key = (path, state)
        with self._lock:
            if key in self._readers:
                self._readers.move_to_end(key)
                return self._readers[key]
        reader = Reader(path)
        with self._lock:
            self._readers[key] = reader
            while len(self._readers) > self.READERS:
                _, oldest = self._readers.popitem(last=False)
                oldest.close()
        return reader

    def rgb(self, path: str, state: tuple[int, int], number: int) -> np.ndarray:
        """Returns a frame of a file, [h, w, 3]."""
        key = (path, state, number)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
        rgb = self.reader(path, state).rgb(number)
        with self._lock:
            self._frames[key] = rgb
            while len(self._frames) > self.FRAMES:
                self._frames.popitem(last=False)
        return rgb
