"""--report: a JSON file about the work, its speed and the checks."""

import json
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from infer.targets import (
    REPORT_MARK,
    check_not_used,
    check_replaceable,
    is_report,
    replaced_report,
)

# Bytes: file systems take 255, of which the unfinished file needs some.
LONGEST_NAME = 230


def check_report(path: str, overwrite: bool, others: Iterable[str]) -> None:
    """Raises ValueError before the work begins if the report cannot be written.

    others: the inputs and outputs of the command, which it must not replace.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ValueError(f"--report {path}: no such folder")
    name = os.path.basename(path)
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(f"--report {path[:60]}...: the name is too long")
    check_not_used(path, others, "--report")
    check_replaceable(path, overwrite, "--report", is_report)


def write_report(path: str, overwrite: bool, reports: Sequence[dict[str, Any]]) -> None:
    """One JSON object for one job, a list for several."""
    marked = [{"written_by": REPORT_MARK, **report} for report in reports]
    content = marked[0] if len(marked) == 1 else marked
    text = json.dumps(content, indent=1, default=_in_words)
    with replaced_report(path, overwrite) as part:
        part.write_text(text, "utf-8")


def _in_words(value: object) -> str:
    if isinstance(value, Fraction):
        return str(value)
    return repr(value)
