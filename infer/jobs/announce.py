"""The facts of a job in words, before anything is loaded."""

from infer.console import say
from infer.jobs.plan import Plan
from infer.sources.info import VideoInfo


def describe_plan(plan: Plan) -> None:
    """Input, output and notes about them, before anything is loaded."""
    info = plan.info
    say(
        f"input    {info.path}  {_size_of(info)}, {_frames_of(plan)}, {_codec_of(info)}"
    )
    kind = "PNG frames"
    spec = plan.spec
    if spec is not None:
        kind = f"{spec.encoder} {spec.pixel_format}"
    width, height = plan.size
    say(f"output   {plan.output}  {width}x{height}, {kind}")
    for note in plan.notes:
        say(f"note     {note}")


def _size_of(info: VideoInfo) -> str:
    width, height = info.stored_size
    size = f"{width}x{height}"
    if info.reduced_from is None:
        return size
    return f"{size} reduced to {info.width}x{info.height}"


def _frames_of(plan: Plan) -> str:
    count = plan.expected_frames
    number = "unknown number of" if count is None else count
    rate = float(plan.info.rate)
    return f"{number} frames, {rate:.6g}/s"


def _codec_of(info: VideoInfo) -> str:
    return f"{info.codec} {info.layout.bits} bit"
