"""The main command: one input, or several after each other."""

import os
from typing import Any

from infer.command.options import Options, parse
from infer.model.engines import Engines

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".mkv",
    ".m4v",
    ".webm",
    ".avi",
    ".ts",
    ".m2ts",
    ".mts",
    ".mpg",
    ".mpeg",
    ".3gp",
    ".flv",
    ".wmv",
    ".ogv",
    ".y4m",
    ".264",
    ".h264",
    ".265",
    ".hevc",
    ".mxf",
)


def main(arguments: list[str]) -> int:
    """0 if all went well; with several inputs 1 if any failed. The failure of a single
    input is raised.
    """
    options = parse(arguments)
    if options.report and not os.path.isdir(
        os.path.dirname(os.path.abspath(options.report))
    ):
        raise ValueError(f"--report {options.report}: no such folder")
    inputs = find_inputs(options.video)
    engines = Engines()
    if len(options.video) == 1 and inputs == list(options.video):
        reports = [run_one(options, inputs[0], options.output, engines)]
        failed = 0
    else:
        reports, failed = run_all(options, inputs, engines)
    if options.report:
        from infer.jobs.file_job import write_report

        write_report(options.report, reports)
    return 1 if failed else 0


def run_one(
    options: Options, path: str, output: str | None, engines: Engines
) -> dict[str, Any]:
    """One job or live session; returns its report."""
    from infer.sources.address import is_live

    if is_live(path, output):
        if options.on_resize != "scale":
            raise ValueError(
                f"--on-resize {options.on_resize}: not for live input or output, which stay one stream"
            )
        from infer.jobs.live_job import run_live

        return run_live(options, path, output, engines)
    from infer.jobs.plan import make_plan

    if options.on_resize == "split":
        from infer.jobs.split_job import plan_parts, run_parts

        plans = plan_parts(options, path, output)
        if len(plans) > 1:
            return run_parts(options, plans, engines)
    # What can be wrong with files and options is found here, before jax is even
    # imported.
    plan = make_plan(options, path, output)
    from infer.console import describe_plan

    describe_plan(plan)
    from infer.jobs.file_job import run_job
    from infer.jobs.fitting import engine_for_job, load

    model = load(options, engines)
    engine = engine_for_job(options, plan, model, engines)
    return run_job(options, plan, engine).as_dict()


def find_inputs(paths: tuple[str, ...]) -> list[str]:
    """Files and folders of frames as they are; a folder with videos and no images
    stands for its videos.
    """
    found: list[str] = []
    for path in paths:
        videos = _videos_in(path) if os.path.isdir(path) else []
        found += videos or [path]
    return found


def _videos_in(folder: str) -> list[str]:
    from infer.sources.images import list_images

    if list_images(folder):
        return []
    names = sorted(
        n
        for n in os.listdir(folder)
        if n.lower().endswith(VIDEO_SUFFIXES) and not n.startswith(".")
    )
    return [os.path.join(folder, n) for n in names]


def run_all(
    options: Options, inputs: list[str], engines: Engines
) -> tuple[list[dict[str, Any]], int]:
    """Every input in turn, finished ones skipped; a failure is told and does not stop
    the rest.
    """
    from infer.command.failure import one_line
    from infer.console import say

    reports, failed, skipped = [], 0, 0
    for number, path in enumerate(inputs, 1):
        say(f"--- {number} of {len(inputs)}: {path}")
        try:
            output = _output_in(options, path)
            if output and os.path.exists(output) and not options.overwrite:
                say(f"skipped  {output} is there already")
                skipped += 1
                continue
            reports.append(run_one(options, path, output, engines))
        except Exception as error:
            if options.debug:
                raise
            failed += 1
            say(one_line(error))
            reports.append({"input": path, "error": str(error)})
    say(
        f"{len(inputs)} inputs: {len(inputs) - failed - skipped} done, {skipped} skipped, {failed} failed"
    )
    return reports, failed


def _output_in(options: Options, path: str) -> str:
    from infer.command.options import parse_fps
    from infer.jobs.plan import default_output
    from infer.sources.probe import probe

    if options.output is not None and not os.path.isdir(options.output):
        raise ValueError(
            f"--output {options.output}: expected an existing folder, because there are several inputs"
        )
    info = probe(path, options.stream, parse_fps(options.fps), options.trust_playlist)
    return default_output(info, options, options.output)
