"""Time, memory and file size of a job before it starts: from earlier runs here, else
from the prediction of `sdvsr plan`.
"""

import math
import os
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np
from starlette.concurrency import run_in_threadpool

from infer.ui.pictures import bicubic
from infer.ui.predictor import Predictor
from infer.ui.schemas import ENDED, Estimate, JobRecord
from infer.ui.server import Server, file_state

if TYPE_CHECKING:
    from infer.jobs.plan import Plan

SAMPLE = 12
"""Frames at most that are encoded to learn the size of the file."""
SAMPLED_PIXELS = 16e6
"""Pixels of all these frames together: a second of work for the slower encoders."""
SPEED = ("model", "device", "precision", "steps", "tile", "threads", "workers")
"""Options that decide how long a frame takes."""


class Speed(NamedTuple):
    """A measured run: seconds for an input pixel of a frame, bytes for an input pixel,
    and the number of pixels.
    """

    seconds: float
    memory: float
    pixels: int


def estimate(server: Server, entry: str, plan: "Plan", words: list[str]) -> Estimate:
    """Returns the cost of the planned job, as far as it is known now. While a
    preview of the video works nothing is begun: its own report will tell more, and its
    first frame is waited for.
    """
    records = server.queue.records()
    estimate = _facts(plan)
    speeds = _speeds(records, words)
    _add_measured(estimate, speeds, plan)
    if _has_open_preview(records, entry):
        return estimate
    if estimate.memory is None and server.predictor is not None:
        _add_predicted(estimate, server.predictor, words, plan)
    if (
        plan.spec is not None
        and estimate.frames is not None
        and server.later is not None
    ):
        preview = _preview_of(records, entry, plan.size)
        estimate.bytes_basis = "preview" if preview else "enlarged source"
        basis = preview.job.id if preview else entry
        key = (basis, *words, plan.output)

        def measure() -> Awaitable[int | None]:
            return run_in_threadpool(_file_size, server, preview, plan)

        size = server.later.get(key, measure)
        estimate.bytes = size.value
        estimate.is_pending |= size.is_pending
    return estimate


def _has_open_preview(records: Sequence[JobRecord], entry: str) -> bool:
    """Is there a preview of this video that has not come to its end?"""
    for record in records:
        job = record.job
        is_preview = job.kind == "preview" and job.input == entry
        if is_preview and job.state not in ENDED:
            return True
    return False


def _facts(plan: "Plan") -> Estimate:
    """Returns the plan's own figures."""
    width, height = plan.size
    return Estimate(
        width=width,
        height=height,
        frames=plan.expected_frames,
        output_name=Path(plan.output).name,
        notes=list(plan.notes),
    )


def _add_measured(forecast: Estimate, speeds: list[Speed], plan: "Plan") -> None:
    """Fill in time and memory as in the run whose frames are closest in size."""
    pixels = plan.info.width * plan.info.height
    speed = _nearest(speeds, pixels)
    if speed is None:
        return
    forecast.basis = "same size" if speed.pixels == pixels else "another size"
    forecast.memory = round(speed.memory * pixels)
    if forecast.frames is not None:
        seconds = speed.seconds * pixels * forecast.frames
        forecast.seconds = round(seconds, 1)


def _add_predicted(
    forecast: Estimate, predictor: Predictor, words: list[str], plan: "Plan"
) -> None:
    """Fill in time and memory as `sdvsr plan` predicts them."""
    command = ["--video", plan.info.path, *words]
    prediction, forecast.is_pending = predictor.predict(command, plan.output)
    if not prediction:
        return
    forecast.basis = "predicted"
    forecast.memory = prediction["memory"]
    if forecast.frames is not None:
        seconds = prediction["seconds_per_frame"] * forecast.frames
        forecast.seconds = round(seconds, 1)


def _speeds(records: Sequence[JobRecord], words: list[str]) -> list[Speed]:
    """Returns the measured runs with the same model on the same device."""
    speeds = []
    for record in records:
        job = record.job
        report = job.report
        if not report or _decisive(job.words) != _decisive(words):
            continue
        size = report.get("model_input_size") or report.get("input_size")
        pixels = _product(size)
        seconds = _seconds_per_frame(report)
        if not pixels or seconds is None:
            continue
        parts = report.get("predicted_memory", {})
        memory = sum(parts.values())
        speeds.append(Speed(seconds / pixels, memory / pixels, pixels))
    return speeds


def _seconds_per_frame(report: dict[str, Any]) -> float | None:
    """Returns the steady pace of a run: its first frame compiles."""
    fresh = report.get("frames", 0) - report.get("resumed_frames", 0)
    seconds = report.get("seconds")
    if fresh < 3 or not seconds:
        return None
    first = report.get("first_frame_seconds") or 0
    return (seconds - first) / (fresh - 1)


def _nearest(speeds: list[Speed], pixels: int) -> Speed | None:
    """Returns the latest of the runs whose frames are closest in size."""
    if not speeds:
        return None
    # Of equally close ones `min` takes the first.
    latest_first = reversed(speeds)
    return min(latest_first, key=lambda speed: abs(speed.pixels - pixels))


def _decisive(words: list[str]) -> list[str]:
    decisive = []
    for word in words:
        option, _, _ = word.lstrip("-").partition("=")
        if option in SPEED:
            decisive.append(word)
    return decisive


def _product(size: Any) -> int:
    return int(np.prod(size)) if size else 0


def _preview_of(
    records: Sequence[JobRecord], entry: str, size: tuple[int, int]
) -> JobRecord | None:
    """Returns the latest preview of this video at this size."""
    for record in reversed(records):
        job = record.job
        is_ready = job.kind == "preview" and job.state == "done"
        report = job.report or {}
        has_size = report.get("output_size") == list(size)
        if is_ready and has_size and job.input == entry:
            return record
    return None


def _file_size(server: Server, preview: JobRecord | None, plan: "Plan") -> int | None:
    """Returns the bytes of the whole file, measured by encoding a few frames with the
    job's own encoder and settings; None if there are too few.
    """
    width, height = plan.size
    affordable = SAMPLED_PIXELS // (width * height)
    # A key frame and another one are needed, however large they are.
    most = int(min(SAMPLE, max(2, affordable)))
    if preview is not None:
        paths = sorted(Path(preview.output).glob("*.png"))
        frames = [_load(path) for path in paths[:most]]
    else:
        frames = _enlarged_source(server, plan, most)
    if len(frames) < 2:
        return None
    return _extrapolate(frames, plan)


def _enlarged_source(server: Server, plan: "Plan", most: int) -> list[np.ndarray]:
    """Returns the first frames of the job, enlarged by the bicubic filter."""
    path = plan.info.path
    count = min(most, plan.expected_frames or 0)
    numbers = range(plan.start, plan.start + count)
    frames = []
    for number in numbers:
        rgb = server.library.rgb(path, file_state(path), number)
        frames.append(bicubic(rgb, plan.size))
    return frames


def _extrapolate(frames: list[np.ndarray], plan: "Plan") -> int:
    """Returns the bytes of all frames, if all are as these."""
    from infer.sinks.segments import SegmentWriter

    assert plan.spec is not None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sample.mkv")
        writer = SegmentWriter(path, plan.spec, plan.group)
        # encoders give frames that are shown longer more bytes
        frames_per_tick = plan.info.rate * plan.spec.time_base
        ticks = max(1, round(1 / frames_per_tick))
        for number, frame in enumerate(frames):
            writer.write(frame, number * ticks, ticks)
        writer.close()
        keys, others = _packet_sizes(path)
    total = plan.expected_frames or 0
    groups = math.ceil(total / plan.group)
    key = sum(keys) / max(len(keys), 1)
    other = sum(others) / len(others) if others else key
    return round(groups * key + (total - groups) * other)


def _packet_sizes(path: str) -> tuple[list[int], list[int]]:
    """Returns the bytes of key frames and of all other frames."""
    keys: list[int] = []
    others: list[int] = []
    with av.open(path) as container:
        for packet in container.demux(video=0):
            # the last one is empty and only flushes the decoder
            if packet.size:
                sizes = keys if packet.is_keyframe else others
                sizes.append(packet.size)
    return keys, others


def _load(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        deep = frame.format.components[0].bits > 8
        return frame.to_ndarray(format="rgb48le" if deep else "rgb24")
