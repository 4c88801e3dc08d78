"""Network outputs as files for the muxer: unlike FFmpeg's own they can be stopped and
time out at every moment.
"""

import socket
import threading
from urllib.parse import parse_qsl, urlsplit

from infer.errors import JobError

DATAGRAM = 7 * 188
"""Bytes of MPEG-TS that fit one Ethernet frame whole."""
BUFFER = 24 * DATAGRAM
_POLL = 0.1


class SocketFile:
    """The writing half of a file: ``udp://HOST:PORT``, ``tcp://HOST:PORT`` or
    ``tcp://HOST:PORT?listen=1``.
    """

    def __init__(self, url: str, timeout: float, stop: threading.Event) -> None:
        parts = urlsplit(url)
        try:
            host, port = parts.hostname or "", int(parts.port or 0)
        except ValueError:
            port = 0
        if not port:
            raise ValueError(f"{url}: expected {parts.scheme}://HOST:PORT")
        self._is_udp = parts.scheme == "udp"
        try:
            if self._is_udp:
                self._socket = _datagrams(host, port)
            elif dict(parse_qsl(parts.query)).get("listen", "0") != "0":
                self._socket = _first_caller(host, port, stop)
            else:
                self._socket = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise JobError(
                f"{url}: cannot be written ({error.strerror or error})"
            ) from None
        self._socket.settimeout(timeout)

    def write(self, data: bytes) -> int:
        """All of it; a receiver that takes nothing for too long counts as gone."""
        try:
            for start in range(
                0, len(data), DATAGRAM if self._is_udp else max(1, len(data))
            ):
                self._socket.sendall(
                    data[start : start + DATAGRAM] if self._is_udp else data
                )
        except ConnectionRefusedError:
            if (
                not self._is_udp
            ):  # the answer to a datagram that nobody wanted: a viewer may come later
                raise
        except TimeoutError:
            raise ConnectionAbortedError("the receiver takes nothing") from None
        return len(data)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def _datagrams(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM
    )[0]
    sender = socket.socket(family, kind, protocol)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    sender.connect(address)
    return sender


def _first_caller(host: str, port: int, stop: threading.Event) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )[0]
    with socket.socket(family, kind, protocol) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(1)
        server.settimeout(_POLL)
        while not stop.is_set():
            try:
                return server.accept()[0]
            except TimeoutError:
                continue
    raise OSError("stopped while waiting for a receiver")
