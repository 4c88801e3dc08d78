"""The words and numbers of a live session, now and then and at its end."""

from typing import Any

import jax
import numpy as np

from infer.console import say
from infer.latency import Latency, now
from infer.pipeline import Stepper
from infer.sinks.stream import LiveSink
from infer.sources.inbox import Inbox
from infer.sources.live import LiveSource
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array

# Seconds between two lines.
EVERY = 10.0


class Meter:
    """Reads the counters of a session's parts; `steps` holds the model's own times."""

    def __init__(self, source: LiveSource, inbox: Inbox, sink: LiveSink) -> None:
        self._source = source
        self._inbox = inbox
        self._sink = sink
        self.steps = Latency()
        self._start = now()
        self._last_line = now()

    @property
    def first(self) -> float | None:
        """When the first frame that left had come."""
        return self._sink.first

    @property
    def last(self) -> float | None:
        """When the last frame so far that left had come."""
        return self._sink.last

    def since(self, moment: float | None) -> float | None:
        """Seconds since then."""
        return None if moment is None else now() - moment

    def begin(self) -> None:
        """The model is ready: rates count from here."""
        self._inbox.begin()
        self._start = now()
        self._last_line = now()

    def timed(self, model: Stepper) -> "TimedModel":
        """Returns the model with its steps counted here."""
        return TimedModel(model, self)

    def say_sometimes(self) -> None:
        """Says a line if the last one is long ago."""
        if now() - self._last_line > EVERY:
            self.say("live    ")

    def say(self, title: str) -> None:
        """Says frames, rates and percentiles in one line, and troubles in another."""
        self._last_line = now()
        inbox = self._inbox
        sink = self._sink
        repeated = f", {sink.num_repeated} repeated" if sink.num_repeated else ""
        frames = f"{inbox.num_received} frames in, {sink.num_frames} out"
        losses = f"{inbox.num_dropped} dropped{repeated}"
        seconds = max(1e-9, now() - self._start)
        rate = sink.num_frames / seconds
        times = f"model {self.steps}; latency {sink.latency}"
        say(f"{title} {frames}, {losses}, {rate:.2f}/s; {times}")
        troubles = []
        for name, count in self._troubles():
            if count:
                troubles.append(f"{count} {name}")
        if troubles:
            say(f"         {', '.join(troubles)}")

    def _troubles(self) -> list[tuple[str, int]]:
        source = self._source
        return [
            ("reconnections", source.num_reconnects),
            ("jumps of the clock", source.clock.num_jumps),
            ("frames missed before the model was ready", self._inbox.num_missed),
            ("damaged packets", source.damage.bad_packets),
            ("frames rescaled to the first's size", source.num_resized),
            ("frames repeated into gaps", self._sink.num_filled),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers for --report.

        Times are in milliseconds; latency counts from the arrival of a frame's bytes to
        the moment named in ``latency_ends_when``.
        """
        inbox = self._inbox
        sink = self._sink
        source = self._source
        return {
            "frames_in": inbox.num_received,
            "frames": sink.num_frames,
            "dropped": inbox.num_dropped,
            "missed": inbox.num_missed,
            "repeated": sink.num_repeated,
            "filled": sink.num_filled,
            "reconnections": source.num_reconnects,
            "clock_jumps": source.clock.num_jumps,
            "bad_packets": source.damage.bad_packets,
            "resized_frames": source.num_resized,
            "sound": sink.has_sound,
            "seconds": round(now() - self._start, 3),
            "model_ms": self.steps.percentiles(),
            "latency_ms": sink.latency.percentiles(),
            "latency_ends_when": sink.end_of_latency,
        }


class TimedModel:
    """A model whose frame is complete when `step` returns, with the time it took.

    A live frame must leave before the next one is begun, or its latency doubles.
    """

    def __init__(self, model: Stepper, meter: Meter) -> None:
        self._model = model
        self._meter = meter
        self.restart = model.restart
        self.snapshot = model.snapshot
        self.is_finite = model.is_finite

    def step(self, state: StreamState, pixels: np.ndarray) -> tuple[StreamState, Array]:
        """As the model's own."""
        start = now()
        state, out = self._model.step(state, pixels)
        jax.block_until_ready(out)
        self._meter.steps.add(now() - start)
        self._meter.say_sometimes()
        return state, out
