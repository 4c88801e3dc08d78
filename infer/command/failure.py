"""From an exception to one line for the user and an exit status."""

import os
import re

from infer.errors import NO_ROOM, JobError

BAD_USE, FAILED, INTERRUPTED = 2, 1, 130
# A work folder or a file in it: the folder and the name of its output.
WORK_FILE = re.compile(r"(.*/|^)\.([^/]+)\.parts(/.*)?$")
# Characters of the compiler's words on memory, which go on for pages.
LONGEST = 200


def status(error: BaseException) -> int:
    """2 for wrong use, 130 for an interruption, 1 for everything else."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    # FFmpeg's errors of data are ValueErrors, too.
    if isinstance(error, ValueError) and not _is_of_ffmpeg(error):
        return BAD_USE
    return FAILED


def one_line(error: BaseException) -> str:
    """The failure in one line for the user."""
    from infer.console import printable

    words = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        advice = (
            "interrupted: finished parts are kept, the same command goes on from there"
        )
        return printable(words or advice)
    if getattr(error, "errno", None) in NO_ROOM:
        return (
            "error: the disk is full; make room and give the same command again, it "
            "goes on where it stopped"
        )
    if "RESOURCE_EXHAUSTED" in words or isinstance(error, MemoryError):
        return printable(
            f"error: not enough memory for frames of this size ({words[:LONGEST]}): "
            "try a smaller input or another --device"
        )
    name = getattr(error, "filename", None)
    why = getattr(error, "strerror", None)
    if name and why:  # of the system or of FFmpeg
        text = " ".join(f"{_name_for_user(name)}: {why}".split())
        return printable(f"error: {text}")
    if isinstance(error, JobError | ValueError | OSError) or _is_of_ffmpeg(error):
        return printable(f"error: {words}")
    kind = type(error).__name__
    return printable(
        f"error: {kind}: {words} (a fault in this program; --debug shows where)"
    )


def _name_for_user(path: object) -> str:
    """The output's name for a file of its work folder, which no user knows."""
    is_path = isinstance(path, str | bytes | os.PathLike)
    name = os.fsdecode(path) if is_path else str(path)
    return WORK_FILE.sub(r"\1\2", name)


def _is_of_ffmpeg(error: BaseException) -> bool:
    return type(error).__module__.startswith("av.")
