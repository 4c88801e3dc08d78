"""The facts of a job in words, before anything is loaded."""

from infer.console import say
from infer.jobs.plan import Plan


def describe_plan(plan: Plan) -> None:
    """Input, output and notes about them, before anything is loaded."""
    info = plan.info
    count = plan.expected_frames
    frames = "unknown number of" if count is None else count
    width, height = info.stored_size
    size = f"{width}x{height}"
    if info.reduced_from is not None:
        size += f" reduced to {info.width}x{info.height}"
    rate = f"{float(info.rate):.6g}/s"
    facts = f"{size}, {frames} frames, {rate}, {info.codec} {info.layout.bits} bit"
    say(f"input    {info.path}  {facts}")
    kind = "PNG frames"
    if plan.spec is not None:
        kind = f"{plan.spec.encoder} {plan.spec.pixel_format}"
    width, height = plan.size
    say(f"output   {plan.output}  {width}x{height}, {kind}")
    for note in plan.notes:
        say(f"note     {note}")
