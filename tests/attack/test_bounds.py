"""Work is bounded: by pixels before anything is decoded, and by time wherever a source
may be silent, slow, endless or without pictures.
"""

import itertools
import os
import shutil
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attack.conftest import Upscale
from tests.attack.outcome import within


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        size = struct.pack(">I", len(data))
        check = struct.pack(">I", zlib.crc32(kind + data))
        return size + kind + data + check

    # eight bits, RGB
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    chunks = [chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp(width: int, height: int) -> bytes:
    """The same as a bitmap of one bit a pixel."""
    # 40: its own size; one plane, one bit, a palette of two colours
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, 0, 0, 0, 2, 0)
    # 62: both heads and the palette, behind which pixels begin
    head = struct.pack("<2sIHHI", b"BM", 1000, 0, 0, 62)
    palette = bytes(8)
    pixels = bytes(900)
    return head + info + palette + pixels


def y4m(width: int, height: int) -> bytes:
    """The same as a raw video."""
    head = f"YUV4MPEG2 W{width} H{height} F25:1 C420jpeg\nFRAME\n"
    return head.encode() + bytes(1000)


def gif(width: int, height: int) -> bytes:
    """The same as a GIF, whose sides have 16 bits."""
    # 0x80: a palette of two colours follows
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0)
    return b"GIF89a" + screen + bytes(60)


HEADERS: dict[str, Callable[[int, int], bytes]] = {
    "in.png": png,
    "in.bmp": bmp,
    "in.y4m": y4m,
    "in.gif": gif,
}


# As reported, larger, and with a side near the 65,535 that GIF can say.
@pytest.mark.parametrize("size", [(16000, 16000), (32000, 30000), (65000, 8000)])
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_beyond_the_limit_is_refused_at_once(
    upscale: Upscale, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    (tmp_path / name).write_bytes(HEADERS[name](*size))
    output = tmp_path / "o.mkv"
    words = ("--video", tmp_path / name, "-o", output)
    # a decoded picture of that size alone would take gigabytes and minutes
    outcome = within(60, lambda: upscale(*words))
    outcome.check_refused(name)
    assert os.listdir(tmp_path) == [name]


def test_the_reported_picture_is_refused(upscale: Upscale, tmp_path: Path, hostile):
    source = hostile("a16000.png")
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", source, "-o", output)
    outcome.check_refused("16000x16000", "--", status=2)


def test_one_of_many_pictures_is_refused(upscale: Upscale, tmp_path: Path, hostile):
    """The limit holds for every picture of a folder, not for the first alone."""
    folder = tmp_path / "frames"
    folder.mkdir()
    shutil.copy(hostile("percent/501 off.png"), folder / "1.png")
    (folder / "2.png").write_bytes(png(30000, 30000))
    output = tmp_path / "o.mkv"
    outcome = upscale("--video", folder, "-o", output)
    outcome.check_refused("2.png")
    assert not output.exists()


LIMITS = ("--timeout", "1", "--reconnect", "1")
PATIENCE = 60.0
"""Seconds for a time-out, one reconnection and their ends on a busy machine."""


def test_a_stream_without_pictures_ends(upscale: Upscale, tmp_path: Path, hostile):
    source = hostile("undecodable.ts")
    output = tmp_path / "o.ts"
    words = ("--video", source, "-o", output, *LIMITS)
    outcome = within(PATIENCE, lambda: upscale(*words))
    outcome.check_refused("undecodable.ts")
    assert os.listdir(tmp_path) == []


class Server:
    """A TCP server that sends a sequence of bytes, with a pause after each, to all."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]], pause: float) -> None:
        self._chunks = chunks
        self._pause = pause
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Five looks a second at whether the test is over.
        self._listener.settimeout(0.2)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                line, _ = self._listener.accept()
            except TimeoutError:
                continue
            line.settimeout(1)
            thread = threading.Thread(target=self._send, args=(line,), daemon=True)
            thread.start()

    def _send(self, line: socket.socket) -> None:
        with line:
            for chunk in self._chunks():
                if self._over.wait(self._pause):
                    return
                try:
                    line.sendall(chunk)
                except OSError:
                    return
            # The line stays open: an end of it would be an answer.
            self._over.wait(60)


HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
# Its number, 0x1fff, is that of packets that fill a stream.
NULL_PACKET = b"\x47\x1f\xff\x10" + bytes(184)
"""A transport stream's packet of nothing."""


def silent() -> Iterator[bytes]:
    """Nothing at all."""
    return iter(())


def endless() -> Iterator[bytes]:
    """A well-formed transport stream of nothing, for ever."""
    return itertools.chain([HTTP], itertools.repeat(NULL_PACKET * 100))


def dripping() -> Iterator[bytes]:
    """The same, one byte at a time."""
    stream = HTTP + NULL_PACKET * 100
    return (stream[i : i + 1] for i in range(len(stream)))


def undecodable() -> Iterator[bytes]:
    """Pictures that cannot be decoded, for ever."""
    data = Path(__file__).parents[1] / "data/hostile/undecodable.ts"
    return itertools.chain([HTTP], itertools.repeat(data.read_bytes()))


SERVERS = {
    "silent": (silent, 0.0),
    "dripping": (dripping, 0.3),
    "endless": (endless, 0.01),
    "undecodable": (undecodable, 0.2),
}


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("form", ["tcp live", "http live", "http file"])
def test_a_server_cannot_hold_the_command(
    upscale: Upscale, tmp_path: Path, kind: str, form: str
) -> None:
    chunks, pause = SERVERS[kind]
    scheme, _, way = form.partition(" ")
    name = "o.ts" if way == "live" else "o.mkv"
    output = tmp_path / name
    with Server(chunks, pause) as server:
        address = f"{scheme}://127.0.0.1:{server.port}/in.ts"
        words = ("--video", address, "-o", output, *LIMITS)
        outcome = within(PATIENCE, lambda: upscale(*words))
    outcome.check_refused()
    assert os.listdir(tmp_path) == []
