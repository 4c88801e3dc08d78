"""One file job: plan, compiled step, segments, one output.

Every file job works this way, resumed or not.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from infer.console import Clock, in_words, rate_in_words, say
from infer.errors import JobError
from infer.frame import Frame, Sink
from infer.jobs.fingerprint import file_identity, params_digest
from infer.jobs.fitting import need_of_job
from infer.jobs.plan import Plan, check_target, is_picture_name
from infer.jobs.work_folder import WorkFolder
from infer.model.announce import describe_model
from infer.model.engine import Engine, Model
from infer.model.memory import Memory, available
from infer.model.memory_plan import predicted
from infer.model.threads import num_threads
from infer.model.versions import versions
from infer.options import Options, parse_degree
from infer.pipeline import READ_AHEAD, Policy, run
from infer.sinks.files import PNGSink, SegmentSink
from infer.sinks.mux import join
from infer.sinks.segments import Segment
from infer.sinks.timeline import Timeline
from infer.sinks.verify import Check, check_output
from infer.sources.files import Damage, FileSource
from infer.sources.inbox import Inbox
from sdvsr_jax.atomic import move_into_place, require_regular, sync
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array
from sdvsr_jax.weights.checksum import sha256

Report = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """A finished job. report: the content of --report; seconds: of this run alone."""

    report: Report
    seconds: float


def no_delivery(report: Report) -> None:
    """The report is not wanted before the work folder is removed."""


class Means(NamedTuple):
    """The maker of the frames: an engine here, or workers elsewhere.

    identity: must be equal for a job to go on. report: for people.
    """

    identity: dict[str, Any]
    report: Report
    memory: Memory


def means_of(plan: Plan, engine: Engine) -> Means:
    """Returns the facts of an engine in this process."""
    model = engine.model
    identity = {**model_identity(model), "fit": str(engine.layout)}
    report = {
        "model": model.name,
        "device": str(model.device),
        "versions": versions(),
        "precision": model.config.compute_dtype,
        "steps": model.config.diffusion.num_steps,
    }
    return Means(identity, report, predicted(engine, need_of_job(plan)))


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


def run_job(
    options: Options,
    plan: Plan,
    engine: Engine,
    deliver: Callable[[Report], None] = no_delivery,
) -> Result:
    """Does the job; on return the output is complete under its final name and checked.

    deliver: called with the report while a killed job could still be ended by the same
    command.
    """
    means = means_of(plan, engine)
    model = engine.model
    describe_model(model, means.memory, available(model.device))
    with work_folder(options, plan, means) as work:
        if work.is_finished:
            result = finished_before(plan, work)
        else:
            result = _do(options, plan, engine, work, means)
        deliver(result.report)
        work.remove()
    return result


def work_folder(
    options: Options, plan: Plan, means: Means, gaps: bool = False
) -> WorkFolder:
    """Returns the work folder of a job, still to be entered."""
    facts = {**_wishes(options, plan), **means.identity, **plan.described()}
    return WorkFolder(plan.target, facts, options.restart, gaps)


def _do(
    options: Options, plan: Plan, engine: Engine, work: WorkFolder, means: Means
) -> Result:
    begin(options, plan, work)
    damage = Damage()
    num_resumed = work.num_frames
    sink = _sink_of(plan, work)
    with closing(sink), Clock(plan.expected_frames, num_resumed) as clock:
        counted = _Counted(sink, clock)
        _upscale(plan, options, engine, work, counted, damage)
    return conclude(options, plan, work, means, damage, clock)


def begin(options: Options, plan: Plan, work: WorkFolder) -> None:
    """Raises an error unless the work may begin or go on."""
    if options.resume and not work.finished:
        raise ValueError(
            f"--resume: there is no unfinished work in {work.path}; "
            "leave --resume out to begin"
        )
    check_target(plan.target, plan.info.path, options.overwrite)
    if work.segments:
        count = work.num_frames
        say(f"resume   going on after {count} finished frames in {work.path}")


def conclude(
    options: Options,
    plan: Plan,
    work: WorkFolder,
    means: Means,
    damage: Damage,
    clock: Clock,
) -> Result:
    """Makes the output of the finished groups, checks it and puts it in place."""
    if not work.segments:
        raise JobError(
            f"{plan.info.path}: no frame to upscale from frame {plan.start} on"
        )
    _require_same_input(plan, work)
    # Once more: a bit that the disk has flipped since must not get into the output.
    work.verify()
    checks = _check(plan, work)
    _warn(plan, damage, work.num_frames)
    seconds = clock.seconds
    report = {
        **_facts_of(plan, means),
        "frames": work.num_frames,
        "resumed_frames": work.num_frames - clock.frames,
        "seconds": round(seconds, 3),
        "first_frame_seconds": clock.first_frame,
        "frames_per_second": round(clock.frames / seconds, 3),
        "predicted_memory": asdict(means.memory),
        "damage": asdict(damage),
        "notes": list(plan.notes),
        "checks": [check.as_dict() for check in checks],
        "nothing_lost": all(check.ok for check in checks),
    }
    # It may have come into being meanwhile.
    check_target(plan.target, plan.info.path, options.overwrite)
    _publish(plan, work, report)
    _summarise(plan, work.num_frames, clock, checks)
    return Result(report, seconds)


def finished_before(plan: Plan, work: WorkFolder) -> Result:
    assert work.published is not None
    say(f"done     {plan.output}  was finished before; only the end was missing")
    report = work.published["report"]
    return Result(report, report["seconds"])


def _sink_of(plan: Plan, work: WorkFolder) -> PNGSink | SegmentSink:
    if plan.spec is None:
        return PNGSink(work, plan.info)
    return SegmentSink(work, plan.spec, plan.group)


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
        plan.info,
        plan.start + num_finished,
        count,
        plan.deinterlace,
        damage,
        plan.keeps_alpha,
        plan.cut_at,
    )
    policy = Policy(group=plan.group)
    with Inbox(source, READ_AHEAD) as inbox:
        run(inbox, engine, state, sink, policy)


def _require_same_input(plan: Plan, work: WorkFolder) -> None:
    """Raises JobError if the source is another one than when the work began.

    Its sound and words are copied last, and would be those of another film.
    """
    try:
        is_same = file_identity(plan.info) == work.fact("input")
    except OSError:
        is_same = False
    if not is_same:
        raise JobError(
            f"{plan.info.path}: was changed while it was read; nothing was written: "
            "give the same command with --restart"
        )


def _check(plan: Plan, work: WorkFolder) -> list[Check]:
    """Puts the output together in the work folder and holds it against the source."""
    if plan.spec is None:
        count = len(list(_images_of(plan, work)))
        expected = work.num_frames
        is_whole = count == expected
        return [Check("frame count", is_whole, str(expected), str(count))]
    assert plan.package is not None
    timeline = _timeline(plan, work.segments)
    part = work.part("joined")
    package, spec, info = plan.package, plan.spec, plan.info
    try:
        copies = join(part, package, spec, work.segments, info, timeline)
        return check_output(part, package, spec, info, timeline, copies)
    except JobError as error:
        # The user knows the output by its own name.
        raise JobError(str(error).replace(part, plan.output)) from None


def _images_of(plan: Plan, work: WorkFolder) -> list[str]:
    """Names of the finished images, here or already in the output's folder."""
    target = Path(plan.target)
    is_picture = is_picture_name(plan.target)
    folder = target.parent if is_picture else target
    images = []
    for name in work.images:
        final = target.name if is_picture else os.path.basename(name)
        is_here = (work.path / name).exists()
        if is_here or (folder / final).exists():
            images.append(name)
    return images


def _publish(plan: Plan, work: WorkFolder, report: Report) -> None:
    """Puts the output in place, all of it or nothing."""
    if plan.spec is None:
        _publish_images(plan, work, report)
        return
    part = work.part("joined")
    name = os.path.basename(plan.target)
    digest = sha256(Path(part))
    # First, so that a job killed right behind the move is known to be finished.
    work.mark_published({name: digest}, report)
    move_into_place(part, plan.target)


def _publish_images(plan: Plan, work: WorkFolder, report: Report) -> None:
    """Moves the frames: as one folder if it is new, else one by one."""
    folder = work.path / "frames"
    target = Path(plan.target)
    if is_picture_name(plan.target):
        (name,) = work.images
        digest = work.digest_of(name)
        work.mark_published({target.name: digest}, report)
        move_into_place(work.path / name, target)
        return
    digests = {}
    for name in work.images:
        final = f"{target.name}/{os.path.basename(name)}"
        digests[final] = work.digest_of(name)
    # Before the first is moved: a link among them stops the job with the output as it
    # was.
    for name in digests:
        require_regular(target.parent / name)
    work.mark_published(digests, report)
    if target.is_dir():
        for path in sorted(folder.iterdir()):
            os.replace(path, target / path.name)
        sync(target)
    else:
        move_into_place(folder, target)


def _timeline(plan: Plan, segments: Sequence[Segment]) -> Timeline:
    all_pts: list[int] = []
    all_durations: list[int] = []
    for segment in segments:
        all_pts += segment.pts
        all_durations += segment.durations
    pts = tuple(all_pts)
    durations = tuple(all_durations)
    base = plan.info.time_base
    origin = pts[0] * base if plan.start else plan.info.start
    end = None
    if _stops_early(plan):
        # Sound behind the last frame is left out only where frames are left out, too.
        end = (pts[-1] + durations[-1]) * base
    begins_late = plan.start > 0
    return Timeline(pts, durations, base, origin, end, begins_late)


def _stops_early(plan: Plan) -> bool:
    if plan.count is None:
        return False
    total = plan.info.num_frames
    if total is None:
        return True
    return plan.start + plan.count < total


def identity(options: Options, plan: Plan, model: Model) -> dict[str, Any]:
    """Input, model and versions: a job goes on only if all are the same."""
    return {**_wishes(options, plan), **model_identity(model)}


def model_identity(model: Model) -> dict[str, Any]:
    """The part of the identity that is known where the model is."""
    facts = {
        "model": params_digest(model.params),
        "config": str(model.config),
        "device": model.device.device_kind,
        **versions(),
    }
    if model.device.platform == "cpu":
        # XLA divides sums among them: another number gives other last bits.
        facts["threads"] = num_threads()
    return facts


def _wishes(options: Options, plan: Plan) -> dict[str, Any]:
    return {
        "input": file_identity(plan.info),
        "seed": options.seed,
        "restore": parse_degree(options.restore),
    }


def _facts_of(plan: Plan, means: Means) -> Report:
    info = plan.info
    return {
        "input": info.path,
        "output": plan.output,
        "input_size": list(info.stored_size),
        "model_input_size": [info.width, info.height],
        "output_size": list(plan.size),
        **means.report,
    }


def _warn(plan: Plan, damage: Damage, num_frames: int) -> None:
    path, expected = plan.info.path, plan.expected_frames
    if damage.bad_packets:
        total = f" of {expected}" if expected else ""
        say(
            f"warning  {path} is damaged ({damage.first_error}): "
            f"{num_frames}{total} frames could be decoded, "
            f"{damage.bad_packets} packets could not"
        )
    for fact in damage.facts():
        say(f"warning  {fact}")
    if damage.clock_jumps:
        # no warning: nothing is lost, and joined recordings are meant to be so
        say(
            f"note     the source's clock starts anew (count: {damage.clock_jumps}): "
            "time goes on without the gaps"
        )
    if damage.repaired_pts:
        say(
            f"warning  {damage.repaired_pts} frames had no usable timestamp and got "
            "the next free one"
        )
    if damage.resized_frames:
        say(
            f"warning  {damage.resized_frames} frames had another size and were scaled "
            "to that of the first; --on-resize split writes a file for each size"
        )


def _summarise(
    plan: Plan, num_frames: int, clock: Clock, checks: Sequence[Check]
) -> None:
    failures = [check for check in checks if not check.ok]
    for check in failures:
        say(f"warning  not as in the source: {check}")
    for check in checks:
        if check.ok and check.note:
            say(f"note     {check.name}: {check.note}")
    verdict = f"{len(checks)} checks passed"
    if failures:
        verdict = f"{len(failures)} of {len(checks)} checks failed"
    volume = ""
    if os.path.isfile(plan.target):
        volume = f", {in_words(os.path.getsize(plan.target))}"
    rate = rate_in_words(clock.frames, clock.seconds)
    speed = f"{rate}, first after {clock.first_frame or 0:.1f} s"
    effort = f"{num_frames} frames in {clock.seconds:.1f} s ({speed})"
    say(f"done     {plan.output}  {effort}{volume}, {verdict}")
