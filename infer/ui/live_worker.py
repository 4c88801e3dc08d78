"""The model for live sessions, in a process of its own: `infer.ui.live_worker`.

Messages in: S a start (JSON with model, width, height), F a compressed frame. Out: R
ready (JSON with width, height), F four bytes of float (the model's milliseconds) and a
compressed frame.
"""

import io
import json
import struct
import sys
import time

import numpy as np
from PIL import Image

from infer.ui.worker import serve
from sdvsr_jax import Upscaler

QUALITY = 95
"""Of JPEG, without chroma subsampling: no difference is seen, and it is encoded in a
few milliseconds, where a lossless picture takes longer than the model.
"""


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
        # The model's own time: the pictures are decoded and encoded outside of it.
        seconds = time.perf_counter() - begin
        file = io.BytesIO()
        picture = Image.fromarray(result)
        picture.save(file, "JPEG", quality=QUALITY, subsampling=0)
        milliseconds = 1000 * seconds
        return struct.pack("<f", milliseconds) + file.getvalue()


class Sessions:
    """The latest session; the same again needs no compilation."""

    def __init__(self) -> None:
        self._session: Session | None = None

    def answer(self, kind: bytes, content: bytes) -> tuple[bytes, bytes]:
        """Returns the answer to a message; ValueError if it makes no sense."""
        if kind == b"S":
            return b"R", self._begin(json.loads(content))
        if self._session is None:
            raise ValueError("A frame came before the start.")
        return b"F", self._session.push(content)

    def _begin(self, wish: dict) -> bytes:
        key = (wish["model"], wish["width"], wish["height"])
        if self._session is not None and self._session.key == key:
            self._session.restart()
        else:
            self._session = Session(*key)
        scale = self._session.scale
        size = {"width": scale * wish["width"], "height": scale * wish["height"]}
        return json.dumps(size).encode()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, Sessions().answer)
