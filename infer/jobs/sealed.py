"""JSON objects with their own checksum, as the work folder keeps its records."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infer.errors import JobError


def read_sealed(path: Path) -> dict[str, Any]:
    """Returns the object in ``path``; JobError if a byte of it has changed."""
    try:
        # no splitlines, for which other characters end a line, too
        body, digest, rest = path.read_bytes().decode().split("\n")
        is_whole = _digest(body) == digest
        if is_whole and not rest:
            return dict(json.loads(body))
    except (OSError, ValueError, TypeError):
        pass
    raise damage_of(path)


def sealed(content: Mapping[str, Any]) -> str:
    """Returns the text that `read_sealed` accepts."""
    body = json.dumps(content)
    return f"{body}\n{_digest(body)}\n"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def damage_of(path: Path) -> JobError:
    """The error of a file in a work folder that has changed since it was written."""
    advice = "give the same command with --restart to begin again"
    return JobError(f"{path}: missing or damaged; {advice}")
