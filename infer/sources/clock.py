"""Unbroken clocks for the output, whatever the source's timestamps do."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# Seconds that a source may leap forward; more is taken for a new clock. FFmpeg's own
# number, so that copied files agree.
MAX_JUMP = 10
# Formats that are joined although FFmpeg does not say so.
JOINABLE = ("flv",)
# Seconds by which packets of a stream may overlap where two files were joined.
MAX_STEP_BACK = Fraction(1, 10)
# Seconds between frames to which the source gives one time: Matroska has no less.
SHORTEST = Fraction(1, 1000)
# Frames by which times of display run back in common streams.
MAX_B_FRAMES = 4


class Clock:
    """Source timestamps -> strictly increasing ticks of ``base``, beginning at 0.

    Between two frames of one connection the distance is the source's, exactly: there is
    no drift. A connection that was lost, a clock that jumps back (MPEG-TS wraps after
    26 hours) or far ahead goes on where the output is.
    """

    def __init__(self, base: Fraction, frame_ticks: int) -> None:
        self.base = base
        self._frame_ticks = frame_ticks
        self._offset: int | None = None
        self._last: int | None = None
        self._gap = frame_ticks
        shortest = math.ceil(SHORTEST / base)
        self._shortest = max(1, min(shortest, frame_ticks))
        self.num_jumps = 0
        self.num_repaired = 0

    def reconnect(self, elapsed: float) -> None:
        """The next timestamp is of a new connection.

        elapsed: seconds after the last frame.
        """
        self._offset = None
        gap = round(Fraction(elapsed) / self.base)
        self._gap = max(self._frame_ticks, gap)

    def ticks(self, time: Fraction | None) -> int:
        """Returns the output time of a frame.

        time: in the source's seconds, None where it has none.
        """
        if time is None:
            ticks = self._next()
            self.num_repaired += 1
        else:
            ticks = self._continued(time)
        if self._last is not None and ticks <= self._last:
            ticks = self._last + self._shortest
            self.num_repaired += 1
        self._last = ticks
        return ticks

    def _next(self) -> int:
        if self._last is None:
            return 0
        return self._last + self._frame_ticks

    def _continued(self, time: Fraction) -> int:
        raw = round(time / self.base)
        if self._offset is None or self._jumps(raw + self._offset):
            start = 0
            if self._last is not None:
                start = self._last + self._gap
            self._offset = start - raw
            # The time that a connection was away counts once.
            self._gap = self._frame_ticks
        return raw + self._offset

    def beside(self, time: Fraction) -> int | None:
        """Returns the output time of something that is not a frame, such as sound.

        None before the connection's first frame.
        """
        if self._offset is None:
            return None
        return round(time / self.base) + self._offset

    def _jumps(self, ticks: int) -> bool:
        if self._last is None:
            return False
        ahead = (ticks - self._last) * self.base
        jumps = ahead < -1 or ahead > MAX_JUMP
        if jumps:
            self.num_jumps += 1
        return jumps


def demux_unbroken(
    container: InputContainer,
    streams: Iterable[Stream],
    clock: "JoinedClock | None" = None,
) -> Iterator[Packet]:
    """Returns the packets of some streams, with one clock for the whole file.

    Files of formats that may be joined or cut anywhere (MPEG-TS, VOB, FLV) are read
    with all their streams, so that pictures and copied packets are moved alike. clock:
    to count jumps with.
    """
    selection = list(streams)
    if not is_joinable(container):
        yield from container.demux(selection)
        return
    indices = {stream.index for stream in selection}
    clock = JoinedClock() if clock is None else clock
    for packet in container.demux():
        clock.mend(packet)
        # The packet that ends a stream has no number of its own, only its stream.
        if packet.stream.index in indices:
            yield packet


def is_joinable(container: InputContainer) -> bool:
    """Returns whether files of this format may be joined or cut anywhere."""
    marks = container.format.flags & Flags.ts_discont.value
    return bool(marks) or container.format.name in JOINABLE


class JoinedClock:
    """Moves the packets of a file so that time goes on where its clock starts again.

    Each stream tells when its next packet is due. A packet that is far from it shows a
    new clock, which then holds for all streams.
    """

    def __init__(self) -> None:
        self._shift = Fraction(0)
        self._previous_shift = Fraction(0)
        self._last: dict[int, Fraction] = {}
        self._due: dict[int, Fraction] = {}
        self._lead: dict[int, int] = {}
        self._newest: Fraction | None = None
        self.num_jumps = 0

    def mend(self, packet: Packet) -> None:
        """Moves a packet's times, in demuxing order of all streams."""
        stream = packet.stream
        base = packet.time_base
        shift = self._shift
        ticks = packet.pts if packet.dts is None else packet.dts
        # Subtitles may be far from their neighbours, and show no clock.
        if ticks is not None and stream.type in ("video", "audio"):
            time = ticks * base
            overlap = MAX_STEP_BACK
            if packet.dts is None:
                # Times of display run back by the length of a group of B-frames.
                overlap += MAX_B_FRAMES * _duration(packet)
            shift = self._shift_of(stream.index, time, overlap)
            moment = time + shift
            self._newest = moment
            self._last[stream.index] = moment
            self._due[stream.index] = moment + _duration(packet)
        ticks = round(shift / base) if shift else 0
        if packet.dts is not None:
            packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks
        self._mend_display(packet)

    def _mend_display(self, packet: Packet) -> None:
        """At a joint FFmpeg gives the last picture the time of display of the next
        part; it gets the distance from its time of decoding that the one before had.
        """
        if packet.pts is None or packet.dts is None:
            return
        index = packet.stream_index
        lead = packet.pts - packet.dts
        if 0 <= lead * packet.time_base <= MAX_JUMP:
            self._lead[index] = lead
        else:
            packet.pts = packet.dts + self._lead.get(index, 0)

    def _shift_of(self, index: int, time: Fraction, overlap: Fraction) -> Fraction:
        due = self._due.get(index, self._newest)
        if due is None:
            return self._shift
        current = time + self._shift
        distance = current - due
        # Packets of the old clock still come when another stream has the new one.
        late = time + self._previous_shift
        late_distance = late - due
        if abs(late_distance) < abs(distance):
            if not self._jumps(index, late, late_distance, overlap):
                return self._previous_shift
        elif not self._jumps(index, current, distance, overlap):
            return self._shift
        self.num_jumps += 1
        self._previous_shift = self._shift
        self._shift = due - time
        return self._shift

    def _jumps(
        self, index: int, time: Fraction, distance: Fraction, overlap: Fraction
    ) -> bool:
        if abs(distance) > MAX_JUMP:
            return True
        last = self._last.get(index)
        if last is None:
            return False
        return time + overlap < last


def _duration(packet: Packet) -> Fraction:
    """Seconds until the stream's next packet."""
    if packet.duration:
        return packet.duration * packet.time_base
    stream = packet.stream
    if isinstance(stream, VideoStream) and stream.average_rate:
        return 1 / stream.average_rate
    return Fraction(0)
