"""From an exception to one line for the user and an exit status."""

import errno

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
"""No room: on the disk, in the user's share of it, or in one file."""
BAD_USE, FAILED, INTERRUPTED = 2, 1, 130


def status(error: BaseException) -> int:
    """2 for wrong use, 130 for an interruption, 1 for everything else."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    is_ffmpeg = type(error).__module__.startswith("av.")
    return BAD_USE if isinstance(error, ValueError) and not is_ffmpeg else FAILED


def one_line(error: BaseException) -> str:
    """What happened, in one line."""
    from infer.errors import JobError

    words = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return (
            words
            or "interrupted: finished parts are kept, the same command goes on from there"
        )
    if getattr(error, "errno", None) in FULL:
        return "error: the disk is full; make room and give the same command again, it goes on where it stopped"
    if "RESOURCE_EXHAUSTED" in words or isinstance(error, MemoryError):
        hint = "try a smaller input or another --device"
        return (
            f"error: not enough memory for frames of this size ({words[:200]}): {hint}"
        )
    name, why = getattr(error, "filename", None), getattr(error, "strerror", None)
    if name and why:  # of the system or of FFmpeg
        return f"error: {' '.join(f'{name}: {why}'.split())}"
    if isinstance(error, JobError | ValueError | OSError) or type(
        error
    ).__module__.startswith("av."):
        return f"error: {words}"
    return f"error: {type(error).__name__}: {words} (a fault in this program; --debug shows where)"
