"""A small RTSP server: one viewer, one H.264 stream, FFmpeg's own RTP packets inside
the TCP connection.
"""

import socket
import struct

from streams import Background, Sender, free_port

SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=numbers
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track0
""".replace("\n", "\r\n")
ANSWERS = {
    "OPTIONS": ("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN", ""),
    "DESCRIBE": ("Content-Type: application/sdp", SDP),
    "SETUP": ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1", ""),
    "PLAY": ("Session: 1", ""),
    "TEARDOWN": ("Session: 1", ""),
}


class RTSPServer(Background):
    """Serves numbered frames at ``url`` until its context is left."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        # A viewer begins after its model is ready, which may be compiled first.
        self._server.settimeout(60)
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/numbers"
        super().__init__()

    def _run(self) -> None:
        with self._server, self._server.accept()[0] as viewer:
            viewer.settimeout(60)
            while (method := self._answer(viewer)) != "PLAY":
                if method == "TEARDOWN":
                    return
            self._play(viewer)

    def _answer(self, viewer: socket.socket) -> str:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            # Byte by byte, so that nothing of the next request is taken; a viewer that
            # leaves without a word has torn it down.
            request += viewer.recv(1) or b"TEARDOWN * RTSP/1.0\r\nCSeq: 0\r\n\r\n"
        lines = request.decode().splitlines()
        method = lines[0].split()[0]
        number = next(
            line.split(":")[1].strip()
            for line in lines
            if line.lower().startswith("cseq")
        )
        header, body = ANSWERS[method]
        length = f"\r\nContent-Length: {len(body)}" if body else ""
        viewer.sendall(
            f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n"
            f"{header}{length}\r\n\r\n{body}".encode()
        )
        return method

    def _play(self, viewer: socket.socket) -> None:
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.bind(("127.0.0.1", port))
            # The sender begins with the encoder's first picture.
            packets.settimeout(30)
            # Below the 1,500 bytes of a network's frame, as cameras send them.
            with Sender(f"rtp://127.0.0.1:{port}?pkt_size=1200", muxer="rtp"):
                while not self.stop.is_set():
                    # More than the 1,200 bytes and the head of a packet.
                    packet = packets.recv(2048)
                    try:
                        viewer.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
                    except OSError:
                        return
