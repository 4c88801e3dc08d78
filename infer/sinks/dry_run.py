"""The output in miniature, before the job: one frame and the first packets of
everything else, put together and checked as the real one will be.

So whatever a container cannot hold is known in time, and which other one can.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import replace

import av
import numpy as np

from infer.errors import JobError
from infer.sinks.containers import SUFFIXES, Packaging, other_muxers, way_into
from infer.sinks.encoder_spec import VideoSpec
from infer.sinks.mux import join
from infer.sinks.segments import Segment, SegmentWriter
from infer.sinks.timeline import Timeline
from infer.sinks.verify import Check, check_output
from infer.sources.info import VideoInfo
from infer.sources.probe import reason

# Of the frame: large enough for every encoder.
SIZE = 256, 144
# Matroska's ticks in a second.
MATROSKA_TICK = 1000


def rehearse(info: VideoInfo, spec: VideoSpec, package: Packaging) -> list[Check]:
    """The checks of the miniature.

    ValueError if the container refuses such video altogether.
    """
    width, height = SIZE
    small = replace(spec, width=width, height=height)
    suffix = SUFFIXES[package.muxer]
    with tempfile.TemporaryDirectory() as folder:
        frame_path = os.path.join(folder, "frame.mkv")
        segment = _one_frame(frame_path, small, info)
        timeline = Timeline(segment.pts, segment.durations, info.time_base, info.start)
        path = os.path.join(folder, f"output{suffix}")
        try:
            copies = join(path, package, small, [segment], info, timeline, sample=True)
            return check_output(path, package, small, info, timeline, copies)
        except (av.FFmpegError, ValueError, JobError) as error:
            # What FFmpeg says of a file would name the temporary one.
            why = reason(error).replace(path, "the file")
            others = _alternatives(other_muxers(spec, package.muxer))
            raise ValueError(
                f"{suffix} cannot hold {spec.encoder} {spec.pixel_format} ({why}): "
                f"use {others or 'another --codec'}"
            ) from None


def _alternatives(muxers: Iterable[str]) -> str:
    return " or ".join(SUFFIXES[muxer] for muxer in muxers)


def _one_frame(path: str, spec: VideoSpec, info: VideoInfo) -> Segment:
    samples = np.uint16 if spec.deep else np.uint8
    black = np.zeros((spec.height, spec.width, 3), samples)
    first = round(info.start / info.time_base)
    writer = SegmentWriter(path, spec, 1)
    writer.write(black, first, info.frame_duration)
    return writer.close()


def choose_packaging(
    info: VideoInfo, spec: VideoSpec, package: Packaging
) -> tuple[Packaging, list[str]]:
    """The variant of ``package`` that loses least, and its losses in words, with the
    containers that would not lose them.

    ValueError if the container refuses such video altogether.
    """
    losses = _losses(info, spec, package)
    if losses and package.muxer in ("mp4", "mov"):
        # Only then: some players find a title only in the usual form.
        variant = replace(package, any_key=True)
        fewer = _losses(info, spec, variant)
        if len(fewer) < len(losses):
            package, losses = variant, fewer
    # Every other container is tried with a miniature of its own, so only where needed.
    others = _others(info, spec, package) if losses else {}
    losses_by_advice: dict[str, list[str]] = {}
    for name, loss in losses.items():
        able = [muxer for muxer, theirs in others.items() if name not in theirs]
        advice = f": {_alternatives(able)} can"
        if not able:
            advice = f", nor can any other here with {spec.encoder}"
        losses_by_advice.setdefault(advice, []).append(loss)
    suffix = SUFFIXES[package.muxer]
    notes = []
    for advice, group in losses_by_advice.items():
        words = "; ".join(group)
        notes.append(f"{suffix} cannot hold {words}{advice}")
    return package, notes


def _others(
    info: VideoInfo, spec: VideoSpec, package: Packaging
) -> dict[str, dict[str, str]]:
    """Losses of the other containers, where they can be used at all."""
    losses = {}
    for muxer in other_muxers(spec, package.muxer):
        sound = _sound_ways(muxer, info, package)
        if sound is None:
            continue
        any_key = muxer != "matroska"
        variant = replace(package, muxer=muxer, any_key=any_key, sound=sound)
        try:
            losses[muxer] = _losses(info, spec, variant)
        except (av.FFmpegError, ValueError, RuntimeError):
            # Nobody has asked for this container.
            continue
    return losses


def _sound_ways(
    muxer: str, info: VideoInfo, package: Packaging
) -> tuple[tuple[int, str], ...] | None:
    """Index and way of every other stream, None if one does not fit into ``muxer``."""
    ways = []
    for other in info.others:
        if other.index not in package.streams:
            continue
        way = way_into(muxer, info, other)
        if way is None:
            return None
        ways.append((other.index, way))
    return tuple(ways)


def _losses(info: VideoInfo, spec: VideoSpec, package: Packaging) -> dict[str, str]:
    """Failed checks of the miniature by name, in words."""
    # Packets were refused earlier or not at all, and one packet of sound may lie before
    # the picture; the bit depth is the encoder's, not the container's.
    ignored = {"bit depth"}
    for other in info.others:
        ignored.add(f"{other.kind} {other.index}")
    losses = {}
    for check in rehearse(info, spec, package):
        if not check.ok and check.name not in ignored:
            losses[check.name] = check.loss
    if package.muxer == "matroska" and _is_rounded(info):
        losses["timestamps"] = f"exact timestamps (it counts in 1/{MATROSKA_TICK} s)"
    return losses


def _is_rounded(info: VideoInfo) -> bool:
    """Whether neither the ticks nor the frames are whole ticks of Matroska."""
    tick = info.time_base * MATROSKA_TICK
    frame = MATROSKA_TICK / info.rate
    return tick.denominator != 1 and frame.denominator != 1
