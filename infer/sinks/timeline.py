"""When each frame of the output is shown, and which chapters lie beside it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from infer.sources.info import VideoInfo

if TYPE_CHECKING:
    from av.container.core import Chapter


@dataclass(frozen=True)
class Timeline:
    """pts, durations: in ticks of ``time_base``, the frame that is shown first first.

    origin: seconds taken off every timestamp. end: packets of other streams from here
    on are left out. begins_late: the first frames of the source were skipped, so
    earlier packets of other streams are, too.
    """

    pts: tuple[int, ...]
    durations: tuple[int, ...]
    time_base: Fraction
    origin: Fraction = Fraction(0)
    end: Fraction | None = None
    begins_late: bool = False

    def shifted(self) -> list[int]:
        """Timestamps as the output has them."""
        shift = round(self.origin / self.time_base)
        return [pts - shift for pts in self.pts]

    def is_outside(self, seconds: Fraction) -> bool:
        """Whether a packet of that time in the source is left out."""
        if self.begins_late and seconds < self.origin:
            return True
        return self.end is not None and seconds >= self.end


def cut_chapters(info: VideoInfo, timeline: Timeline) -> list["Chapter"]:
    """The source's chapters on the output's clock."""
    chapters: list[Any] = []
    for chapter in info.chapters:
        base = chapter["time_base"]
        shift = round(timeline.origin / base)
        start = chapter["start"] - shift
        end = chapter["end"] - shift
        if timeline.end is not None:
            length = timeline.end - timeline.origin
            limit = round(length / base)
            if start >= limit:
                continue
            end = min(end, limit)
        if end > 0:
            start = max(start, 0)
            chapters.append({**chapter, "start": start, "end": end})
    return chapters
