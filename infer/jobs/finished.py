"""Outputs of earlier jobs: a file of the right name may be that of another input.

Outputs carry no mark, so it is written down in the user's cache. Where that is gone
nothing is lost: an output is then one that nobody knows.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from infer.jobs.fingerprint import file_identity
from infer.sources.info import VideoInfo
from sdvsr_jax.atomic import atomic_write
from sdvsr_jax.weights.hub import cache_folder


def remember(output: str, info: VideoInfo) -> None:
    """Writes down that ``output``, as it is now, was made from this source."""
    # Without a home, or on a full disk, there is no record.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        path = _record_of(output)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = {"input": file_identity(info), **_state_of(output)}
        with atomic_write(path) as part:
            part.write_text(json.dumps(record), "utf-8")


def is_output(path: str) -> bool:
    """Whether a job has made this file, and nobody has changed it since."""
    return _record(path) is not None


def is_output_of(output: str, info: VideoInfo) -> bool:
    """Whether ``output`` was made from this source, and neither has changed since."""
    record = _record(output)
    if record is None:
        return False
    return record["input"] == file_identity(info)


def _record(output: str) -> dict[str, Any] | None:
    try:
        text = _record_of(output).read_text("utf-8")
        record = json.loads(text)
        state = _state_of(output)
        is_same = all(record[key] == value for key, value in state.items())
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):
        return None
    is_ours = is_same and "input" in record
    return record if is_ours else None


def _record_of(output: str) -> Path:
    # A digest: a path may be longer than a name in a folder can be.
    place = os.fsencode(os.path.realpath(output))
    name = hashlib.sha256(place).hexdigest()[:32]
    return cache_folder() / "sdvsr_jax" / "finished" / f"{name}.json"


def _state_of(output: str) -> dict[str, int]:
    """Numbers that change with the file, or with the files of a folder."""
    status = os.stat(output)
    is_folder = os.path.isdir(output)
    size = len(os.listdir(output)) if is_folder else status.st_size
    return {"size": size, "mtime_ns": status.st_mtime_ns}
