"""Time, memory and file size of a job before it starts, from what has run before."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import numpy as np

from infer.ui.schemas import Estimate, Job
from infer.ui.server import Server

if TYPE_CHECKING:
    from infer.jobs.plan import Plan

SAMPLE = 12
"""Frames of a preview that are encoded to learn the size of the file."""
SPEED = ("model", "device", "precision", "steps", "tile")
"""Options that decide how long a frame takes."""


class Speed(NamedTuple):
    """A measured run: seconds for an input pixel of a frame, bytes for an input pixel,
    and the number of pixels.
    """

    seconds: float
    memory: float
    pixels: int


def estimate(server: Server, entry: str, plan: "Plan", words: list[str]) -> Estimate:
    """Returns what the planned job will take, as far as earlier runs tell it."""
    width, height = plan.size
    found = Estimate(
        width=width,
        height=height,
        frames=plan.expected_frames,
        output_name=Path(plan.output).name,
        notes=list(plan.notes),
    )
    pixels = plan.info.width * plan.info.height
    jobs = server.queue.jobs()
    speed = _nearest(_speeds(jobs, words), pixels)
    if speed is not None:
        found.basis = "same size" if speed.pixels == pixels else "another size"
        found.memory = round(speed.memory * pixels)
        if found.frames is not None:
            found.seconds = round(speed.seconds * pixels * found.frames, 1)
    preview = _preview_of(jobs, entry, plan.size)
    if preview is not None and plan.spec is not None and found.frames is not None:
        folder = Path(server.queue.record(preview.id).output)
        found.bytes = _file_size(sorted(folder.glob("*.png")), plan, found.frames)
    return found


def _speeds(jobs: list[Job], words: list[str]) -> list[Speed]:
    """Returns the measured runs with the same model on the same device."""
    speeds = []
    for job in jobs:
        if not job.report or _decisive(job.words) != _decisive(words):
            continue
        report = job.report
        fresh = report.get("frames", 0) - report.get("resumed_frames", 0)
        pixels = _product(report.get("input_size"))
        seconds = report.get("seconds")
        if fresh < 2 or not pixels or not seconds:
            continue
        memory = sum(report.get("predicted_memory", {}).values())
        speeds.append(Speed(seconds / fresh / pixels, memory / pixels, pixels))
    return speeds


def _nearest(speeds: list[Speed], pixels: int) -> Speed | None:
    """Returns the latest of the runs whose frames are closest in size."""
    if not speeds:
        return None
    return min(reversed(speeds), key=lambda speed: abs(speed.pixels - pixels))


def _decisive(words: list[str]) -> list[str]:
    return [word for word in words if word.lstrip("-").split("=")[0] in SPEED]


def _product(size: Any) -> int:
    return int(np.prod(size)) if size else 0


def _preview_of(jobs: list[Job], entry: str, size: tuple[int, int]) -> Job | None:
    """Returns the latest preview of this video at this size."""
    for job in reversed(jobs):
        is_preview = job.kind == "preview" and job.state == "done"
        reported = (job.report or {}).get("output_size")
        if is_preview and job.input == entry and reported == list(size):
            return job
    return None


def _file_size(pictures: list[Path], plan: "Plan", frames: int) -> int | None:
    """Returns the bytes that ``frames`` frames take, measured by encoding a few with
    the job's own encoder and settings.
    """
    from infer.sinks.segments import SegmentWriter

    assert plan.spec is not None
    chosen = pictures[:SAMPLE]
    if len(chosen) < 2:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sample.mkv")
        writer = SegmentWriter(path, plan.spec, plan.group)
        for number, picture in enumerate(chosen):
            writer.write(_load(picture), number, 1)
        writer.close()
        keys, others = _packet_sizes(path)
    groups = -(-frames // plan.group)
    key = sum(keys) / max(len(keys), 1)
    other = sum(others) / len(others) if others else key
    return round(groups * key + (frames - groups) * other)


def _packet_sizes(path: str) -> tuple[list[int], list[int]]:
    """Returns the bytes of key frames and of all other frames."""
    keys, others = [], []
    with av.open(path) as container:
        for packet in container.demux(video=0):
            if packet.size:
                (keys if packet.is_keyframe else others).append(packet.size)
    return keys, others


def _load(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        deep = frame.format.components[0].bits > 8
        return frame.to_ndarray(format="rgb48le" if deep else "rgb24")
