"""The outcome of a command: its status, its words, and its media files."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

FAULTS = ("Traceback", "fault in this program", "[Errno", "OverflowError")
"""Words that a user must never read, whatever the input."""


class Outcome(NamedTuple):
    """Exit status and stderr of one run."""

    status: int
    text: str

    @property
    def errors(self) -> list[str]:
        """The error lines."""
        return [line for line in self.text.splitlines() if line.startswith("error")]

    @property
    def warnings(self) -> list[str]:
        """The warning lines."""
        return [line for line in self.text.splitlines() if line.startswith("warning")]

    def check_words(self) -> None:
        """No words of a fault, and one error line exactly where the status says so."""
        for words in FAULTS:
            assert words not in self.text, self.text
        expected = 1 if self.status in (1, 2) else 0
        assert len(self.errors) == expected, self.text

    def check_done(self) -> None:
        """The job ended well."""
        self.check_words()
        assert self.status == 0, self.text

    def check_refused(self, *words: str, status: int | None = None) -> None:
        """Refused in one line that holds all ``words``, in any case."""
        self.check_words()
        expected = (1, 2) if status is None else (status,)
        assert self.status in expected, self.text
        line = self.errors[0].lower()
        for word in words:
            assert word.lower() in line, self.text


def within(seconds: float, call: Callable[[], Outcome]) -> Outcome:
    """The result of a call that must end in this time.

    One that hangs, even outside of Python, fails alone and not with the whole session.
    """
    results: list[Outcome] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, f"no end after {seconds} s, or an exception"
    return results[0]


def picture_times(path: str | Path) -> list[Fraction]:
    """Seconds at which each picture of a file is shown."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = stream.time_base
        packets = [p for p in container.demux(stream) if p.size]
    return sorted(p.pts * base for p in packets)


def steps(times: list[Fraction]) -> Counter[int]:
    """How often each distance between pictures occurs, in whole milliseconds."""
    pairs = itertools.pairwise(times)
    return Counter(round(1000 * (after - before)) for before, after in pairs)


def sound_times(path: str | Path) -> list[Fraction]:
    """Seconds at which each packet of the first sound track begins."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        base = stream.time_base
        packets = [p for p in container.demux(stream) if p.size]
    return [p.pts * base for p in packets]


def sound_seconds(path: str | Path) -> Fraction:
    """Length of the first sound track when it is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
    return Fraction(samples, stream.rate)


def kinds(path: str | Path) -> list[str]:
    """Type and codec of every stream."""
    with av.open(str(path)) as container:
        streams = container.streams
        return [f"{s.type} {s.codec_context.name}" for s in streams if s.codec_context]


def first_picture(path: str | Path, layout: str = "rgb24") -> np.ndarray:
    """The first picture of a file as an array."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    return frame.to_ndarray(format=layout)


def num_pictures(path: str | Path) -> int:
    """How many pictures can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
