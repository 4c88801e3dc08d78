"""The model for live sessions, in a process of its own: `infer.ui.live_worker`.

Messages go through standard input and output: four bytes of length, one of kind, the
content. In: S a start (JSON with model, width, height), F a compressed frame. Out: R
ready (JSON with width, height), F four bytes of float (the model's milliseconds) and a
compressed frame, E a sentence.
"""

import io
import json
import struct
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from sdvsr_jax import Upscaler

QUALITY = 95
"""Of JPEG, without chroma subsampling: no difference is seen, and it is encoded in a
few milliseconds, where a lossless picture takes longer than the model.
"""


def pack(kind: bytes, content: bytes) -> bytes:
    """Returns the bytes of a message."""
    return struct.pack("<I", len(content)) + kind + content


def messages(source: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of each message until the other side closes."""
    while len(head := source.read(5)) == 5:
        (length,) = struct.unpack("<I", head[:4])
        yield head[4:], source.read(length)


class Session:
    """One stream of frames of one size through one model."""

    def __init__(self, model: str, width: int, height: int) -> None:
        self.key = (model, width, height)
        self._size = (width, height)
        self._upscaler = Upscaler(model)
        self._upscaler.warm_up(height, width)

    @property
    def scale(self) -> int:
        """Output pixels of an input pixel, along one side."""
        return self._upscaler.config.scale

    def restart(self) -> None:
        """Forget the frames of an earlier session."""
        self._upscaler.reset()

    def push(self, data: bytes) -> bytes:
        """Returns the milliseconds and the picture for a compressed frame; ValueError
        for a frame of another size.
        """
        with Image.open(io.BytesIO(data)) as picture:
            # before the pixels are decoded: a small file can hold a huge picture
            if picture.size != self._size:
                raise ValueError(f"A frame of {picture.size}, expected {self._size}.")
            frame = np.asarray(picture.convert("RGB"))
        begin = time.perf_counter()
        result = self._upscaler.push(frame)
        milliseconds = 1000 * (time.perf_counter() - begin)
        file = io.BytesIO()
        Image.fromarray(result).save(file, "JPEG", quality=QUALITY, subsampling=0)
        return struct.pack("<f", milliseconds) + file.getvalue()


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer messages until the server closes the pipe."""
    session: Session | None = None
    for kind, content in messages(source):
        try:
            if kind == b"S":
                session = _begin(session, json.loads(content))
                width, height = (side * session.scale for side in session.key[1:])
                answer = json.dumps({"width": width, "height": height}).encode()
                reply = pack(b"R", answer)
            elif session is None:
                reply = pack(b"E", b"A frame came before the start.")
            else:
                reply = pack(b"F", session.push(content))
        except (ValueError, OSError, RuntimeError, UnidentifiedImageError) as error:
            reply = pack(b"E", str(error).encode()[:300])
        target.write(reply)
        target.flush()


def _begin(session: Session | None, wish: dict) -> Session:
    """The session that is there already if it fits: then nothing is compiled."""
    key = (wish["model"], wish["width"], wish["height"])
    if session is not None and session.key == key:
        session.restart()
        return session
    return Session(*key)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
