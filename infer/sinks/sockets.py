"""Network outputs as files for the muxer: unlike FFmpeg's own they can be stopped and
time out at every moment.
"""

import socket
import threading
from urllib.parse import parse_qsl, urlsplit

from infer.errors import JobError

# Bytes of MPEG-TS that fit one Ethernet frame whole.
DATAGRAM = 7 * 188
BUFFER = 24 * DATAGRAM
# Bytes: a key frame of 4K leaves at once.
UDP_BUFFER = 2**20
# Bytes that may wait for a slow reader (Linux doubles it): the system would take
# megabytes, which is seconds of delay that nobody sees.
TCP_BUFFER = 2**17
# Seconds between two looks at the event that stops everything.
POLL = 0.1


class SocketFile:
    """The writing half of a file: ``udp://HOST:PORT``, ``tcp://HOST:PORT`` or
    ``tcp://HOST:PORT?listen=1``.
    """

    def __init__(self, url: str, timeout: float, stop: threading.Event) -> None:
        host, port = _place(url)
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self._is_udp = parts.scheme.lower() == "udp"
        listens = options.get("listen", "0") != "0"
        try:
            if self._is_udp:
                self._socket = _datagrams(host, port)
            elif listens:
                self._socket = _first_caller(host, port, stop)
            else:
                self._socket = _connection(host, port, timeout)
        except OSError as error:
            why = error.strerror or error
            raise JobError(f"{url}: cannot be written ({why})") from None
        self._socket.settimeout(timeout)
        # now, because the report asks when the socket is closed
        self.end_of_latency = self._describe_end()

    def _describe_end(self) -> str:
        """Returns the moment at which a frame counts as sent, in words."""
        if self._is_udp:
            return "its last datagram is sent"
        size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return f"its last byte is in the socket, which holds {size} bytes at most"

    def write(self, data: bytes) -> int:
        """Sends all of it; a receiver that takes nothing for long counts as gone."""
        try:
            if self._is_udp:
                self._send_datagrams(data)
            else:
                self._socket.sendall(data)
        except TimeoutError:
            raise ConnectionAbortedError("the receiver takes nothing") from None
        return len(data)

    def _send_datagrams(self, data: bytes) -> None:
        for start in range(0, len(data), DATAGRAM):
            datagram = data[start : start + DATAGRAM]
            try:
                self._socket.sendall(datagram)
            except ConnectionRefusedError:
                # The answer to a datagram that nobody wanted: a viewer may come later.
                return

    def close(self) -> None:
        """Gives the port back."""
        self._socket.close()


def _place(url: str) -> tuple[str, int]:
    """Host and port of an address; ValueError if it has none."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not port:
        raise ValueError(f"{url}: expected {parts.scheme}://HOST:PORT")
    return host or "", port


def _open(host: str, port: int, kind: socket.SocketKind) -> tuple[socket.socket, tuple]:
    places = socket.getaddrinfo(host, port, type=kind)
    family, kind, protocol, _, address = places[0]
    return socket.socket(family, kind, protocol), address


def _datagrams(host: str, port: int) -> socket.socket:
    sender, address = _open(host, port, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UDP_BUFFER)
    sender.connect(address)
    return sender


def _connection(host: str, port: int, timeout: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, TCP_BUFFER)
    return connection


def _first_caller(host: str, port: int, stop: threading.Event) -> socket.socket:
    server, address = _open(host, port, socket.SOCK_STREAM)
    with server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections have the buffer of the socket that they called.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, TCP_BUFFER)
        server.bind(address)
        server.listen(1)
        server.settimeout(POLL)
        while not stop.is_set():
            try:
                caller, _ = server.accept()
                return caller
            except TimeoutError:
                continue
    raise OSError("stopped while waiting for a receiver")
