"""Packets of other streams on their way from the source into the output."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from av.packet import Packet
from av.stream import AttachmentStream, Stream

# Bytes of a speech frame by its type (3GPP TS 26.101 and 26.201, storage format).
AMR_SIZES = {
    "amr_nb": (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1),
    "amr_wb": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}
# Seconds.
AMR_FRAME = Fraction(1, 50)
# Bytes before an AAC frame in a transport stream (ISO/IEC 13818-7).
ADTS_HEADER, ADTS_CHECKSUM = 7, 2


@dataclass
class Copied:
    """The contents of one stream of a file: packets, their bytes, and its start.

    first: presentation time of its first packet, seconds on the output's clock. The
    hash goes over all bytes, because demuxers cut PCM and AMR differently. undecodable:
    packets of a sound that is encoded anew which are not in it.
    """

    index: int
    kind: str
    packets: int = 0
    first: Fraction | None = None
    undecodable: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add_attachment(self, stream: Stream) -> None:
        """Counts a file that is in the header, if the stream is one."""
        if isinstance(stream, AttachmentStream):
            self.packets += 1
            self.digest.update(bytes(stream.data or b""))

    def add(self, packet: Packet) -> None:
        """Counts a packet whose timestamps are on the output's clock."""
        self.packets += 1
        self.digest.update(payload(packet))
        if self.first is None and packet.pts is not None:
            self.first = packet.pts * packet.time_base


def payload(packet: Packet) -> bytes:
    """The bytes of a packet that every container has in common.

    AAC carries a header in transport streams, which the muxers of others take off.
    """
    data = bytes(packet)
    context = packet.stream.codec_context
    if context is None or context.name != "aac" or len(data) <= ADTS_HEADER:
        return data
    first, second = data[:2]
    # Twelve bits set and a layer of 0 begin a header; the bit between them tells MPEG-2
    # from MPEG-4.
    is_headed = first == 0xFF and second & 0xF6 == 0xF0
    if not is_headed:
        return data
    has_checksum = not second & 1
    size = ADTS_HEADER
    if has_checksum:
        size += ADTS_CHECKSUM
    return data[size:]


def single_packets(packet: Packet) -> Iterator[Packet]:
    """The packet itself; AMR speech frames one by one, because muxers take no more than
    one at a time.
    """
    context = packet.stream.codec_context
    sizes = AMR_SIZES.get(context.codec.canonical_name) if context is not None else None
    if not sizes:
        yield packet
        return
    data = bytes(packet)
    if len(data) <= _speech_size(data[0], sizes):
        yield packet
        return
    start = packet.pts or 0
    step = round(AMR_FRAME / packet.time_base)
    for number, frame in enumerate(_speech_frames(data, sizes)):
        single = Packet(frame)
        single.time_base = packet.time_base
        single.duration = step
        single.is_keyframe = True
        single.pts = single.dts = start + number * step
        yield single


def _speech_frames(data: bytes, sizes: tuple[int, ...]) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        size = _speech_size(data[position], sizes)
        yield data[position : position + size]
        position += size


def _speech_size(head: int, sizes: tuple[int, ...]) -> int:
    """Bytes of a frame whose first byte is ``head``: four of its bits are the type."""
    frame_type = (head >> 3) & 0b1111
    return sizes[frame_type]
