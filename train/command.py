"""The way in and out that the small commands beside `python -m train` share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path


def run(work: Callable[[], None]) -> int:
    """Returns the exit status of ``work``: 0 done, 1 failed, with a line that says why,
    or 130 interrupted.
    """
    try:
        work()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # 128 and the number of Ctrl-C's signal, as shells count
        return 130
    except (ValueError, OSError) as error:
        # libraries explain themselves at length behind the first line
        line, _, _ = str(error).partition("\n")
        print(f"error: {line}", file=sys.stderr)
        return 1
    return 0


def require_new(path: Path, option: str) -> None:
    """Raises ValueError before the work if an output would replace something."""
    # a broken link is something as well
    if os.path.lexists(path):
        raise ValueError(
            f"{option} {path}: is there already, expected a new name; remove it, or "
            "choose another"
        )
