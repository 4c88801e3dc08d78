"""The output in miniature, before the job: one frame and the first packets of
everything else, put together and checked as the real one will be. So whatever a
container cannot hold is known in time, and which other one can.
"""

import os
import tempfile
from dataclasses import replace

import av
import numpy as np

from infer.sinks.containers import MATROSKA_TICK, SUFFIXES, Packaging, able, refused
from infer.sinks.encoders import VideoSpec
from infer.sinks.mux import Timeline, join
from infer.sinks.segments import SegmentWriter
from infer.sinks.verify import Check, check_output
from infer.sources.info import VideoInfo
from infer.sources.probe import reason

SIZE = 256, 144
"""Of the frame: large enough for every encoder."""


def rehearse(info: VideoInfo, spec: VideoSpec, package: Packaging) -> list[Check]:
    """The checks of the miniature; ValueError if the container refuses such video
    altogether.
    """
    small = replace(spec, width=SIZE[0], height=SIZE[1])
    start = round(info.start / info.time_base)
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(os.path.join(folder, "frame.mkv"), small, 1)
        writer.write(
            np.zeros((SIZE[1], SIZE[0], 3), np.uint16 if small.deep else np.uint8),
            start,
            info.frame_duration,
        )
        segment = writer.close()
        timeline = Timeline(segment.pts, segment.durations, info.time_base, info.start)
        path = os.path.join(folder, "output" + SUFFIXES[package.muxer])
        try:
            copied = join(path, package, small, [segment], info, timeline, sample=True)
        except (av.FFmpegError, ValueError) as error:
            others = " or ".join(SUFFIXES[m] for m in able(spec, package.muxer))
            raise ValueError(
                f"{SUFFIXES[package.muxer]} cannot hold {spec.encoder} {spec.pixel_format} ({reason(error)}): "
                f"use {others or 'another --codec'}"
            ) from None
        return check_output(path, package, small, info, timeline, copied)


def choose_packaging(
    info: VideoInfo, spec: VideoSpec, package: Packaging
) -> tuple[Packaging, list[str]]:
    """The variant of ``package`` that loses least, and what it loses in words, with the
    containers that would not.

    ValueError if the container refuses such video altogether.
    """
    lost = _losses(info, spec, package)
    if lost and package.muxer in ("mp4", "mov"):
        open_minded = replace(package, any_key=True)
        fewer = _losses(info, spec, open_minded)
        if len(fewer) < len(lost):
            package, lost = open_minded, fewer
    notes: dict[str, list[str]] = {}
    others = _others(info, spec, package) if lost else {}
    for name, loss in lost.items():
        use = " or ".join(
            SUFFIXES[m] for m, theirs in others.items() if name not in theirs
        )
        end = f": {use} can" if use else f", nor can any other here with {spec.encoder}"
        notes.setdefault(end, []).append(loss)
    return package, [
        f"{SUFFIXES[package.muxer]} cannot hold {'; '.join(losses)}{end}"
        for end, losses in notes.items()
    ]


def _others(
    info: VideoInfo, spec: VideoSpec, package: Packaging
) -> dict[str, dict[str, str]]:
    """What the other containers would lose, where they can be used at all."""
    found = {}
    for muxer in able(spec, package.muxer):
        gone = {s.index for s in refused(info, muxer)} & set(package.kept)
        if not gone:
            found[muxer] = _losses(
                info, spec, replace(package, muxer=muxer, any_key=muxer != "matroska")
            )
    return found


def _losses(info: VideoInfo, spec: VideoSpec, package: Packaging) -> dict[str, str]:
    """Failed checks of the miniature by name, in words."""
    # Packets were refused earlier or not at all, and one packet of sound may lie before
    # the picture; the bit depth
    # is the encoder's, not the container's.
    skipped = {"bit depth", *(f"{o.kind} {o.index}" for o in info.others)}
    found = {
        c.name: c.loss
        for c in rehearse(info, spec, package)
        if not c.ok and c.name not in skipped
    }
    tick, frame = info.time_base / MATROSKA_TICK, 1 / (info.rate * MATROSKA_TICK)
    if package.muxer == "matroska" and 1 not in (tick.denominator, frame.denominator):
        found["timestamps"] = f"exact timestamps (it counts in {MATROSKA_TICK} s)"
    return found
