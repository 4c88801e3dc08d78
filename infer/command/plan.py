"""`python -m infer plan`: the job without the work, and options that suit it better.

    python -m infer plan --video film.mp4

takes the options of the main command, writes nothing (but --report), and prints the
plan, facts seen in the pictures, predicted time and memory, and proposed options.
"""

import os
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from infer.command.inputs import check_kind, find_inputs
from infer.command.report import check_report, write_report
from infer.console import in_words, say
from infer.jobs.announce import describe_plan
from infer.jobs.fitting import load, need_of_job
from infer.jobs.plan import Plan, make_plan
from infer.model.engines import Engines
from infer.options import Options, parse
from infer.sources.address import is_live
from infer.sources.info import VideoInfo
from infer.sources.inspection import Inspection, inspect_source

LOOKED_AT = 500
"""Frames that are inspected unless --frames says otherwise: some seconds of work."""
CUTS_IN_WORDS = 8
"""Cuts whose frame numbers are printed; the report has all."""


class Prediction(NamedTuple):
    """Cost of the work on the device that was asked for."""

    device: str
    seconds_per_frame: float
    memory: int
    """Bytes, if frames are worked on whole."""
    available: int | None
    """Bytes that are free now; None if nobody knows."""


class Proposal(NamedTuple):
    """An option for this source, or advice that is none."""

    option: str
    reason: str


def main(arguments: list[str]) -> int:
    """Runs the command and returns 0 when every input can be upscaled."""
    options = parse(arguments)
    inputs = find_inputs(options.video, options.recursive)
    paths = [item.path for item in inputs]
    if options.report:
        check_report(options.report, options.overwrite, paths)
    engines = Engines()
    reports = [_plan_one(options, path, engines) for path in paths]
    if options.report:
        write_report(options.report, options.overwrite, reports)
    return 0


def _plan_one(options: Options, path: str, engines: Engines) -> dict[str, Any]:
    if is_live(path, options.output):
        raise ValueError(f"{path}: only files and folders can be planned, not streams")
    check_kind(path)
    plan = make_plan(options, path, options.output)
    describe_plan(plan)
    say(f"rate     {_rate_in_words(plan.info)}")
    inspection = inspect_source(plan.info, options.frames or LOOKED_AT)
    for line in describe_inspection(plan.info, inspection):
        say(line)
    prediction = predict(options, plan, engines)
    for line in describe_prediction(plan, prediction):
        say(line)
    proposals = propose(plan.info, inspection, prediction)
    for proposal in proposals:
        option = proposal.option or "first"
        say(f"proposal {option}: {proposal.reason}")
    say(f"command  {command_line(path, proposals)}")
    return _report(plan, inspection, prediction, proposals)


def _rate_in_words(info: VideoInfo) -> str:
    paths = info.files or (info.path,)
    num_bytes = sum(map(os.path.getsize, paths))
    size = in_words(num_bytes)
    if not info.num_frames:
        return f"{size}, number of frames unknown"
    bits = 8 * num_bytes / info.num_frames
    width, height = info.stored_size
    per_pixel = bits / (width * height)
    kilobits = bits * float(info.rate) / 1000
    return f"{size}, {kilobits:.0f} kbit/s, {per_pixel:.3f} bits a pixel"


def describe_inspection(info: VideoInfo, inspection: Inspection) -> list[str]:
    """Lines about the detail, the fields and the cuts."""
    flagged = "interlaced" if info.interlaced else "progressive"
    first_cuts = inspection.cuts[:CUTS_IN_WORDS]
    cuts = ", ".join(map(str, first_cuts))
    if len(inspection.cuts) > CUTS_IN_WORDS:
        cuts += ", ..."
    where = f" (frames {cuts})" if cuts else ""
    return [
        f"detail   {_detail_in_words(info, inspection)}",
        f"fields   {inspection.scan} by content, {flagged} by flag",
        f"cuts     {len(inspection.cuts)} in {inspection.num_frames} frames{where}",
    ]


def _detail_in_words(info: VideoInfo, inspection: Inspection) -> str:
    if inspection.detail is None:
        return "unknown: the pictures are too small or too flat"
    width, height = detail_size(info, inspection.detail)
    stored = "x".join(map(str, info.stored_size))
    text = f"as much as {width}x{height} of {stored} pixels"
    if inspection.is_blown_up:
        return f"{text}: enlarged before, or as soft as that"
    return text


def detail_size(info: VideoInfo, detail: tuple[float, float]) -> tuple[int, int]:
    """(width, height) that would hold the picture's detail."""
    width, height = info.stored_size
    across, down = detail
    return round(width * across), round(height * down)


def predict(options: Options, plan: Plan, engines: Engines) -> Prediction:
    """Time and memory, from the traced model and a probe of the device."""
    # jax is imported only when the files have turned out to be right
    from infer.model import memory
    from infer.model.memory_plan import estimate
    from infer.model.speed import predict_seconds

    model = load(options, engines)
    info = plan.info
    seconds = predict_seconds(model.config, info.width, info.height, model.device)
    need = estimate(need_of_job(plan), model)
    device = model.device
    name = f"{device.platform}:{device.id}"
    return Prediction(name, seconds, need.whole, memory.available(device))


def describe_prediction(plan: Plan, prediction: Prediction) -> list[str]:
    """Lines about the time and the memory."""
    frames = plan.expected_frames
    per_frame = f"{prediction.seconds_per_frame:.2g} s a frame on {prediction.device}"
    if frames is None:
        time = f"about {per_frame}"
    else:
        total = duration_in_words(frames * prediction.seconds_per_frame)
        time = f"about {total}: {frames} frames, {per_frame}"
    space = f"about {in_words(prediction.memory)} for whole frames"
    if prediction.available is not None:
        space += f", {in_words(prediction.available)} available"
    return [f"time     {time}", f"memory   {space}"]


def duration_in_words(seconds: float) -> str:
    """'40 s', '12 min' or '3.5 h'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def propose(
    info: VideoInfo, inspection: Inspection, prediction: Prediction
) -> list[Proposal]:
    """Options that suit this source better than the default ones."""
    proposals = []
    if inspection.scan == "telecined":
        reason = (
            "undo the 3:2 pulldown (FFmpeg: fieldmatch,decimate); two frames in five "
            "are woven from two pictures"
        )
        proposals.append(Proposal("", reason))
    if inspection.scan == "interlaced":
        reason = "frames are woven from two fields, which looks combed when upscaled"
        proposals.append(Proposal("--deinterlace", reason))
    factor = prescale_factor(inspection)
    if factor is not None and info.reduced_from is None:
        width, height = detail_size(info, (factor, factor))
        reason = (
            f"the model works best on native detail; {width}x{height} holds all there "
            f"is, in {factor**2:.0%} of the time"
        )
        option = f"--prescale {factor:g}"
        proposals.append(Proposal(option, reason))
    available = prediction.available
    if available is not None and prediction.memory > available:
        reason = "whole frames do not fit; this is chosen by itself"
        proposals.append(Proposal("--tile auto", reason))
    return proposals


def prescale_factor(inspection: Inspection) -> float | None:
    """The reduction that loses nothing, a simple fraction; None for native detail."""
    if inspection.detail is None or not inspection.is_blown_up:
        return None
    part = max(inspection.detail)
    # the smallest above the estimate, since the rest is lost; its bands are 3 % wide
    steps = (0.25, 1 / 3, 0.5, 2 / 3)
    fitting = [step for step in steps if step >= part - 0.045]
    return round(fitting[0], 4) if fitting else None


def command_line(path: str, proposals: Sequence[Proposal]) -> str:
    """The main command with the proposed options."""
    words = ["python", "-m", "infer", "--video", shlex.quote(path)]
    words += [proposal.option for proposal in proposals if proposal.option]
    return " ".join(words)


def _report(
    plan: Plan,
    inspection: Inspection,
    prediction: Prediction,
    proposals: Sequence[Proposal],
) -> dict[str, Any]:
    info = plan.info
    facts = inspection._asdict() | {"blown_up": inspection.is_blown_up}
    return {
        "input": info.path,
        "codec": info.codec,
        "size": list(info.stored_size),
        "rate": float(info.rate),
        "frames": plan.expected_frames,
        "output": plan.output,
        "output_size": list(plan.size),
        "notes": list(plan.notes),
        "inspection": facts,
        "prediction": prediction._asdict(),
        "proposals": [proposal._asdict() for proposal in proposals],
    }
