"""Sound of a live stream: packets are copied as they are, on the picture's clock."""

import contextlib
import io
from collections import deque
from collections.abc import Iterable
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

# Containers whose AAC packets carry their own headers; the others want them taken off.
SELF_CONTAINED = {"mpegts", "hls"}


def holds_sound(muxer: str, source: AudioStream) -> bool:
    """Whether this container takes packets of that codec, found by asking its muxer."""
    # The muxer of HLS writes files; its segments are MPEG-TS.
    name = "mpegts" if muxer == "hls" else muxer
    output = av.open(io.BytesIO(), "w", format=name)
    try:
        output.add_stream_from_template(source)
        output.start_encoding()
    except (av.FFmpegError, ValueError, RuntimeError):
        return False
    return True


class SoundCopy:
    """A sound track of ``output``.

    arrivals: (ticks of ``time_base``, packet) as they come from the source.
    """

    def __init__(
        self,
        output: OutputContainer,
        source: AudioStream,
        arrivals: deque[tuple[int, Packet]],
        time_base: Fraction,
    ) -> None:
        self._output = output
        self._arrivals = arrivals
        self._time_base = time_base
        self._track: Stream = output.add_stream_from_template(source)
        context = source.codec_context
        has_headers = context.name == "aac" and not context.extradata
        self._unhead: BitStreamFilterContext | None = None
        wants_none = output.format.name not in SELF_CONTAINED
        if has_headers and wants_none:
            self._unhead = BitStreamFilterContext("aac_adtstoasc", source)
        self._last = -1

    def drain(self, origin: int) -> None:
        """Writes all arrivals; sound before the first picture is left out.

        origin: the ticks of that picture.
        """
        while self._arrivals:
            arrival, packet = self._arrivals.popleft()
            ticks = arrival - origin
            if ticks <= self._last:
                # Before the first picture, or not after the last packet, which muxers
                # refuse.
                continue
            self._last = ticks
            # A damaged packet is left out.
            with contextlib.suppress(av.InvalidDataError, av.ArgumentError):
                self._write(packet, ticks)

    def _write(self, packet: Packet, ticks: int) -> None:
        for ready in self._filtered(packet):
            ready.stream = self._track
            ready.pts = ready.dts = ticks
            ready.time_base = self._time_base
            self._output.mux(ready)

    def _filtered(self, packet: Packet) -> Iterable[Packet]:
        if self._unhead is None:
            return [packet]
        return self._unhead.filter(packet)
