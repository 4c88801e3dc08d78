"""What a live session tells about itself, now and then and at its end."""

from typing import Any

from infer.console import say
from infer.latency import Latency, now
from infer.sinks.stream import LiveSink
from infer.sources.inbox import Inbox
from infer.sources.live import LiveSource

EVERY = 10.0
"""Seconds between two lines."""


class Meter:
    """Reads the counters of a session's parts; `steps` is the model's own time per
    computed frame.
    """

    def __init__(self, source: LiveSource, inbox: Inbox, sink: LiveSink) -> None:
        self._source, self._inbox, self._sink = source, inbox, sink
        self.steps = Latency()
        self._begun = self._said = now()

    def begin(self) -> None:
        """The model is ready: rates count from here."""
        self._inbox.begin()
        self._begun = self._said = now()

    def say_sometimes(self) -> None:
        """A line, if the last one is long ago."""
        if now() - self._said > EVERY:
            self.say("live    ")

    def say(self, title: str) -> None:
        """Frames, rates and percentiles in one line, and what went wrong in another."""
        self._said = now()
        inbox, sink, source = self._inbox, self._sink, self._source
        repeated = f", {sink.num_repeated} repeated" if sink.num_repeated else ""
        rate = sink.num_frames / max(1e-9, now() - self._begun)
        say(
            f"{title} {inbox.received} frames in, {sink.num_frames} out, {inbox.dropped} dropped{repeated}, "
            f"{rate:.2f}/s; model {self.steps}; latency {sink.latency}"
        )
        troubles = {
            "reconnections": source.num_reconnects,
            "jumps of the clock": source.clock.num_jumps,
            "frames missed before the model was ready": inbox.missed,
            "damaged packets": source.damage.bad_packets,
            "frames rescaled to the first's size": source.num_resized,
            "frames repeated into gaps": sink.num_filled,
        }
        if found := [f"{count} {what}" for what, count in troubles.items() if count]:
            say(f"         {', '.join(found)}")

    def as_dict(self) -> dict[str, Any]:
        """For --report; times in milliseconds, latency from the arrival of a frame's
        bytes to their departure.
        """
        inbox, sink, source = self._inbox, self._sink, self._source
        return {
            "frames_in": inbox.received,
            "frames": sink.num_frames,
            "dropped": inbox.dropped,
            "missed": inbox.missed,
            "repeated": sink.num_repeated,
            "filled": sink.num_filled,
            "reconnections": source.num_reconnects,
            "clock_jumps": source.clock.num_jumps,
            "bad_packets": source.damage.bad_packets,
            "resized_frames": source.num_resized,
            "sound": sink.has_sound,
            "seconds": round(now() - self._begun, 3),
            "model_ms": self.steps.percentiles(),
            "latency_ms": sink.latency.percentiles(),
        }
