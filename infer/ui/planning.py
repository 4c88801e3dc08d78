"""The plan of a job before it is queued, by the command's own code."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from infer.errors import JobError
from infer.options import is_shared
from infer.sources.probe import probe
from infer.ui.disk import harmless_name
from infer.ui.forms import command_words, parse_words
from infer.ui.refusal import Refusal
from infer.ui.schemas import Input

if TYPE_CHECKING:
    from infer.jobs.plan import Plan

CONTAINERS = ("auto", "mp4", "mkv", "mov", "png")
"""Of the output; auto is the command's choice, png a folder of frames."""

_one_at_a_time = threading.Lock()
"""FFmpeg's dry run of the encoder and the muxer takes memory."""


def load_planning() -> None:
    """Import the modules that plans need; a second call is quick."""
    import infer.jobs.plan  # noqa: F401


def plan_job(
    entry: Input,
    values: dict[str, Any],
    models: dict[str, str],
    container: str,
    folder: Path,
) -> tuple["Plan", list[str]]:
    """Returns the command's plan for an output in ``folder``, and the words of the
    command line; a Refusal in the command's own words if it would not start.
    """
    # jax comes with the plan, and the server must answer before that is loaded
    from infer.command.upscale import require_ray
    from infer.jobs.plan import default_output, make_plan

    words = command_words(values, models)
    options = parse_words(["--video", entry.path, *words])
    with _one_at_a_time:
        try:
            if is_shared(options):
                require_ray()
            info = probe(entry.path, options.stream)
            natural = default_output(info, options, str(folder))
            stem = harmless_name(entry.name) + _ending(natural, entry.path)
            if container == "png":
                # the command takes a name with a dot for a file
                stem = stem.replace(".", "_")
            suffix = _suffix(container, natural)
            output = folder / f"{stem}{suffix}"
            plan = make_plan(options, entry.path, str(output), info)
            return plan, words
        except (JobError, ValueError, OSError, av.FFmpegError) as error:
            sentence = str(error).replace(entry.path, entry.name)
            short = sentence.replace(f"{folder}{os.sep}", "")
            raise Refusal(400, short) from None


def _ending(natural: str, source: str) -> str:
    """Returns the part of an output's name that tells its size, such as _x4."""
    stem, _ = os.path.splitext(os.path.basename(source))
    return Path(natural).stem.removeprefix(stem)


def _suffix(container: str, natural: str) -> str:
    if container == "png":
        return ""
    if container == "auto":
        return Path(natural).suffix
    return f".{container}"
