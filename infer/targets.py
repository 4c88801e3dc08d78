"""The one rule about files that a command may replace.

A target is new, or ours by its mark, or named by --overwrite and a regular file; and it
is never one of the files that the same command reads or writes otherwise.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdvsr_jax.atomic import atomic_write, require_regular

# Value of "written_by" in every report: a later run may replace such a file.
REPORT_MARK = "sdvsr_jax report 1"
# Bytes: what is bigger is not read to look for the mark.
LARGEST_REPORT = 64 * 2**20


def check_replaceable(
    path: str,
    overwrite: bool,
    option: str = "--output",
    is_ours: Callable[[Path], bool] | None = None,
) -> None:
    """Raises ValueError if ``path`` is there and this command may not replace it."""
    target = Path(path)
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        require_regular(target)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None
    if overwrite or (is_ours is not None and is_ours(target)):
        return
    raise ValueError(
        f"{path}: already exists; give --overwrite to replace it or another {option}"
    )


def check_not_used(path: str, others: Iterable[str], option: str) -> None:
    """Raises ValueError if ``path`` is one of ``others``, or lies in a folder of them.

    others: its inputs and outputs; names of streams are let pass.
    """
    target = os.path.realpath(path)
    for other in others:
        used = os.path.realpath(other)
        is_inside = os.path.isdir(used) and os.path.dirname(target) == used
        # A new name beside the frames of a folder is harmless.
        is_in_use = is_inside and os.path.lexists(target)
        if target == used or is_in_use:
            raise ValueError(
                f"{option} {path}: is read or written by the same command ({other}); "
                "choose another name"
            )


@contextmanager
def replaced_report(path: str, overwrite: bool) -> Iterator[Path]:
    """As `atomic_write`, for a report: an earlier report may be replaced."""
    check_replaceable(path, overwrite, "--report", is_report)
    with atomic_write(path) as part:
        yield part


def is_report(path: Path) -> bool:
    """Whether a file carries the mark of our reports."""
    try:
        if path.stat().st_size > LARGEST_REPORT:
            return False
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    # Several jobs write a list; an empty one could be anybody's.
    reports = content if isinstance(content, list) else [content]
    if not reports:
        return False
    return all(_has_mark(report) for report in reports)


def _has_mark(report: Any) -> bool:
    if not isinstance(report, dict):
        return False
    return report.get("written_by") == REPORT_MARK
