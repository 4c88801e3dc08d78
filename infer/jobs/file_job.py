"""One file job: plan, compiled step, segments, one output. Every file job works this
way, resumed or not.
"""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from infer.command.options import Options, parse_degree
from infer.console import Clock, describe_model, in_words, rate_in_words, say
from infer.errors import JobError
from infer.frame import Frame, Sink
from infer.jobs.fingerprint import file_identity, params_digest
from infer.jobs.fitting import need_of_job
from infer.jobs.plan import Plan, check_target
from infer.jobs.work_folder import WorkFolder
from infer.model.engine import Engine, Model
from infer.model.memory import Memory, available
from infer.model.memory_plan import predicted
from infer.model.versions import versions
from infer.pipeline import READ_AHEAD, Policy, run
from infer.sinks.files import PNGSink, SegmentSink
from infer.sinks.mux import Timeline, join
from infer.sinks.segments import Segment, sync_file
from infer.sinks.verify import Check, check_output
from infer.sources.files import Damage, FileSource
from infer.sources.inbox import Inbox
from sdvsr_jax.stream import StreamState
from sdvsr_jax.types import Array


@dataclass(frozen=True)
class Result:
    """What a finished job can say about itself; seconds and rates are of this run, not
    of earlier parts of it.
    """

    plan: Plan
    model: Model
    memory: Memory
    frames: int
    resumed_frames: int
    seconds: float
    first_frame: float | None
    damage: Damage
    checks: tuple[Check, ...]

    def as_dict(self) -> dict[str, Any]:
        """For --report."""
        info = self.plan.info
        return {
            "input": info.path,
            "output": self.plan.output,
            "input_size": [info.width, info.height],
            "output_size": list(self.plan.size),
            "frames": self.frames,
            "resumed_frames": self.resumed_frames,
            "model": self.model.name,
            "device": str(self.model.device),
            "versions": versions(),
            "precision": self.model.config.compute_dtype,
            "steps": self.model.config.diffusion.num_steps,
            "seconds": round(self.seconds, 3),
            "first_frame_seconds": self.first_frame,
            "frames_per_second": round(
                (self.frames - self.resumed_frames) / self.seconds, 3
            ),
            "predicted_memory": asdict(self.memory),
            "damage": asdict(self.damage),
            "notes": list(self.plan.notes),
            "checks": [c.as_dict() for c in self.checks],
            "nothing_lost": all(c.ok for c in self.checks),
        }


class _Counted:
    """A sink that also moves the progress line."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink, self._clock = sink, clock

    def write(self, frame: Frame, pixels: Array) -> None:
        self._sink.write(frame, pixels)
        self._clock.tick()

    def mark(self, state: StreamState) -> None:
        self._sink.mark(state)

    def close(self) -> None:
        self._sink.close()


def run_job(options: Options, plan: Plan, engine: Engine) -> Result:
    """Do the job; on return the output is complete under its final name and has been
    checked.
    """
    model, memory = engine.model, predicted(engine, need_of_job(plan))
    describe_model(model, memory, available(model.device))
    with WorkFolder(
        plan.target, _fingerprint(options, plan, engine), options.restart
    ) as work:
        if options.resume and not work.segments:
            raise ValueError(
                f"--resume: there is no unfinished work in {work.path}; leave --resume out to begin"
            )
        check_target(
            plan.target, plan.info.path, options.overwrite
        )  # it may have come into being meanwhile
        if work.segments:
            say(
                f"resume   going on after {work.num_frames} finished frames in {work.path}"
            )
        damage = Damage()
        sink = (
            PNGSink(work, plan.info)
            if plan.spec is None
            else SegmentSink(work, plan.spec, plan.group)
        )
        with closing(sink), Clock(plan.expected_frames, work.num_frames) as clock:
            resumed = work.num_frames
            _upscale(plan, options, engine, work, _Counted(sink, clock), damage)
            if not work.segments:
                raise JobError(
                    f"{plan.info.path}: no frame to upscale from frame {plan.start} on"
                )
            check_target(plan.target, plan.info.path, options.overwrite)
            checks = _publish(plan, work, sink)
        work.remove()
    _warn(plan, damage, work.num_frames)
    result = Result(
        plan,
        model,
        memory,
        work.num_frames,
        resumed,
        clock.seconds,
        clock.first_frame,
        damage,
        tuple(checks),
    )
    _summarise(result)
    return result


def _upscale(
    plan: Plan,
    options: Options,
    engine: Engine,
    work: WorkFolder,
    sink: Sink,
    damage: Damage,
) -> None:
    num_finished = work.num_frames
    if num_finished % plan.group:
        # A shorter last group means that the end of the source was reached.
        return
    state = engine.start(options.seed, parse_degree(options.restore))
    if num_finished:
        state = engine.restore(work.state())
    count = None if plan.count is None else plan.count - num_finished
    source = FileSource(
        plan.info, plan.start + num_finished, count, plan.deinterlace, damage
    )
    with Inbox(source, READ_AHEAD) as inbox:
        run(inbox, engine, state, sink, Policy(group=plan.group))


def _publish(plan: Plan, work: WorkFolder, sink: PNGSink | SegmentSink) -> list[Check]:
    """Put the output in place, complete or not at all, and check it."""
    work.verify()
    if isinstance(sink, PNGSink):
        work.mark_published()
        sink.publish(plan.target)
        found = sum(1 for n in os.listdir(plan.target) if n.endswith(".png"))
        return [
            Check(
                "frame count",
                found >= work.num_frames,
                str(work.num_frames),
                str(found),
            )
        ]
    assert plan.spec is not None
    assert plan.package is not None
    timeline = _timeline(plan, work.segments)
    part = work.part("joined")
    copied = join(part, plan.package, plan.spec, work.segments, plan.info, timeline)
    checks = check_output(part, plan.package, plan.spec, plan.info, timeline, copied)
    work.mark_published()
    os.replace(part, plan.target)
    sync_file(str(Path(plan.target).resolve().parent))
    return checks


def _timeline(plan: Plan, segments: Sequence[Segment]) -> Timeline:
    pts = tuple(p for s in segments for p in s.pts)
    durations = tuple(d for s in segments for d in s.durations)
    base = plan.info.time_base
    origin = pts[0] * base if plan.start else plan.info.start
    total = plan.info.num_frames
    stops_early = plan.count is not None and (
        total is None or plan.start + plan.count < total
    )
    end = (pts[-1] + durations[-1]) * base if stops_early else None
    return Timeline(pts, durations, base, origin, end, begins_late=plan.start > 0)


def identity(options: Options, plan: Plan, model: Model) -> dict[str, Any]:
    """Input, model and versions: what must be the same for a job to go on."""
    return {
        "input": file_identity(plan.info),
        "model": params_digest(model.params),
        "config": str(model.config),
        "device": model.device.device_kind,
        "seed": options.seed,
        "restore": parse_degree(options.restore),
        **versions(),
    }


def _fingerprint(options: Options, plan: Plan, engine: Engine) -> dict[str, Any]:
    return {
        **identity(options, plan, engine.model),
        "fit": str(engine.layout),
        **plan.described(),
    }


def _warn(plan: Plan, damage: Damage, frames: int) -> None:
    expected = plan.expected_frames
    if damage.bad_packets:
        of = f" of {expected}" if expected else ""
        say(
            f"warning  {plan.info.path} is damaged ({damage.first_error}): {frames}{of} frames could be decoded, "
            f"{damage.bad_packets} packets could not"
        )
    if damage.repaired_pts:
        say(
            f"warning  {damage.repaired_pts} frames had no usable timestamp and got the next free one"
        )
    if damage.resized_frames:
        say(
            f"warning  {damage.resized_frames} frames had another size and were scaled to that of the first; "
            "--on-resize split writes a file for each size"
        )


def _summarise(result: Result) -> None:
    bad = [c for c in result.checks if not c.ok]
    for check in bad:
        say(f"warning  not as in the source: {check}")
    for check in result.checks:
        if check.ok and check.note:
            say(f"note     {check.name}: {check.note}")
    new = result.frames - result.resumed_frames
    verdict = (
        f"{len(bad)} of {len(result.checks)} checks failed"
        if bad
        else f"{len(result.checks)} checks passed"
    )
    target = result.plan.target
    size = os.path.getsize(target) if os.path.isfile(target) else 0
    speed = f"{rate_in_words(new, result.seconds)}, first after {result.first_frame or 0:.1f} s"
    volume = f", {in_words(size)}" if size else ""
    took = f"{result.frames} frames in {result.seconds:.1f} s ({speed})"
    say(f"done     {result.plan.output}  {took}{volume}, {verdict}")


def write_report(path: str, results: Sequence[dict[str, Any]]) -> None:
    """One JSON object for one job, a list for several."""
    content = results[0] if len(results) == 1 else list(results)
    part = Path(f"{path}.unfinished")
    try:
        part.write_text(json.dumps(content, indent=1, default=_plain), "utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Fraction) else repr(value)
