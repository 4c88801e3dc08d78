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
from av.container import InputContainer
from av.stream import Stream

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

    def work() -> None:
        outcome = call()
        results.append(outcome)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, f"no end after {seconds} s, or an exception"
    return results[0]


def picture_times(path: str | Path) -> list[Fraction]:
    """Seconds at which each picture of a file is shown."""
    with av.open(str(path)) as container:
        times = packet_times(container, container.streams.video[0])
    # packets come in the order of decoding
    return sorted(times)


def steps(times: list[Fraction]) -> Counter[int]:
    """How often each distance between pictures occurs, in whole milliseconds."""
    distances = []
    for before, after in itertools.pairwise(times):
        milliseconds = 1000 * (after - before)
        distances.append(round(milliseconds))
    return Counter(distances)


def sound_times(path: str | Path) -> list[Fraction]:
    """Seconds at which each packet of the first sound track begins."""
    with av.open(str(path)) as container:
        return packet_times(container, container.streams.audio[0])


def packet_times(container: InputContainer, stream: Stream) -> list[Fraction]:
    """Seconds of the packets of a stream, in the order of the file."""
    base = stream.time_base
    # an empty packet ends the stream
    packets = [packet for packet in container.demux(stream) if packet.size]
    return [packet.pts * base for packet in packets]


def sound_seconds(path: str | Path) -> Fraction:
    """Length of the first sound track when it is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
    return Fraction(samples, stream.rate)


def kinds(path: str | Path) -> list[str]:
    """Type and codec of every stream."""
    with av.open(str(path)) as container:
        # attachments and data have no codec
        streams = [stream for stream in container.streams if stream.codec_context]
        return [f"{stream.type} {stream.codec_context.name}" for stream in streams]


def first_picture(path: str | Path, layout: str = "rgb24") -> np.ndarray:
    """The first picture of a file as an array."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    return frame.to_ndarray(format=layout)


def num_pictures(path: str | Path) -> int:
    """How many pictures can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
