"""What the user sees, all of it on stderr: facts before the start, one progress line,
one summary line.
"""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from infer.jobs.plan import Plan
    from infer.model.engine import Model
    from infer.model.memory import Memory

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line, shown as it is."""
    console.print(line, markup=False)


def describe_plan(plan: "Plan") -> None:
    """Input, output and what is worth knowing about them, before anything is loaded."""
    info, (width, height) = plan.info, plan.size
    frames = (
        "unknown number of" if plan.expected_frames is None else plan.expected_frames
    )
    facts = f"{info.width}x{info.height}, {frames} frames, {float(info.rate):.6g}/s, {info.codec}"
    say(f"input    {info.path}  {facts} {info.layout.bits} bit")
    kind = (
        "PNG frames"
        if plan.spec is None
        else f"{plan.spec.encoder} {plan.spec.pixel_format}"
    )
    say(f"output   {plan.output}  {width}x{height}, {kind}")
    for note in plan.notes:
        say(f"note     {note}")


def describe_model(model: "Model", memory: "Memory", free: int | None) -> None:
    """Model, device, precision and predicted memory, before anything is computed."""
    config, device = model.config, model.device
    where = f"{device.platform}:{device.id} {device.device_kind}"
    how = f"{config.compute_dtype}, {config.diffusion.num_steps} steps"
    say(f"model    {model.name} ({config.name}), {where}, {how}")
    text = f"memory   {in_words(memory.device)} on the device, {in_words(memory.host)} on the host (predicted)"
    say(text if free is None else f"{text}, {in_words(free)} available")
    if not memory.fits(device.platform, free):
        say(
            "warning  this may not fit into the memory: try --tile, a smaller --size or --precision bfloat16"
        )


def in_words(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def rate_in_words(frames: int, seconds: float) -> str:
    """'2.50 frames/s', or '40 s per frame' where that says more."""
    if frames and seconds / frames > 10:
        return f"{seconds / frames:.0f} s per frame"
    return f"{frames / max(seconds, 1e-9):.2f} frames/s"


class Clock(AbstractContextManager["Clock"]):
    """The progress line: frames, frames/s, time left, and how long the first frame
    took.

    On a terminal it is redrawn; elsewhere a plain line appears every half minute.
    """

    PLAIN_EVERY = 30.0

    def __init__(self, total: int | None, done: int = 0) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._total, self._skipped, self.frames = total, done, 0
        self._task = self._bar.add_task(
            "upscaling", total=total, completed=done, speed=""
        )
        self.started = self._said = time.perf_counter()
        self.first_frame: float | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        self.started = self._said = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started

    def tick(self) -> None:
        """One more frame is finished."""
        self.frames += 1
        if self.first_frame is None:
            self.first_frame = self.seconds
        speed = f"{rate_in_words(self.frames, self.seconds)}, first after {self.first_frame:.1f} s"
        self._bar.update(self._task, advance=1, speed=speed)
        if (
            not console.is_terminal
            and time.perf_counter() - self._said > self.PLAIN_EVERY
        ):
            self._said = time.perf_counter()
            say(
                f"         {self._skipped + self.frames} of {self._total or '?'} frames, {speed}"
            )
