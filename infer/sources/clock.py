"""One unbroken clock for the output, whatever the source's timestamps do."""

from fractions import Fraction

MAX_JUMP = 10
"""Seconds that a source may leap forward; more is taken for a new clock."""


class Clock:
    """Source timestamps -> strictly increasing ticks of ``base``, beginning at 0.

    Between two frames of one connection the distance is the source's, exactly: there is
    no drift. A connection that was lost, a clock that jumps back (MPEG-TS wraps after
    26 hours) or far ahead goes on where the output is.
    """

    def __init__(self, base: Fraction, frame_ticks: int) -> None:
        self.base, self._frame_ticks = base, frame_ticks
        self._offset: int | None = None
        self._last: int | None = None
        self._gap = frame_ticks
        self.num_jumps = self.num_repaired = 0

    def reconnect(self, elapsed: float) -> None:
        """The next timestamp is of a new connection, ``elapsed`` seconds after the last
        frame.
        """
        self._offset = None
        self._gap = max(self._frame_ticks, round(Fraction(elapsed) / self.base))

    def ticks(self, time: Fraction | None) -> int:
        """Output time of a frame; ``time`` in the source's seconds, None where it has
        none.
        """
        if time is None:
            ticks = 0 if self._last is None else self._last + self._frame_ticks
            self.num_repaired += 1
        else:
            raw = round(time / self.base)
            if self._offset is None or self._jumps(raw + self._offset):
                self._offset = (
                    0 if self._last is None else self._last + self._gap
                ) - raw
                self._gap = self._frame_ticks
            ticks = raw + self._offset
        if self._last is not None and ticks <= self._last:
            ticks = self._last + 1
            self.num_repaired += 1
        self._last = ticks
        return ticks

    def beside(self, time: Fraction) -> int | None:
        """Output time of something that is not a frame (sound); None before the
        connection's first frame.
        """
        return None if self._offset is None else round(time / self.base) + self._offset

    def _jumps(self, ticks: int) -> bool:
        if self._last is None:
            return False
        ahead = (ticks - self._last) * self.base
        jumps = ahead < -1 or ahead > MAX_JUMP
        self.num_jumps += jumps
        return jumps
