"""The libraries that decide the bytes of an output."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import sdvsr_jax


def versions() -> dict[str, str]:
    """Returns the versions of jax and PyAV, and a digest of our library's source."""
    source = hashlib.sha256()
    library = Path(sdvsr_jax.__file__).parent
    for path in sorted(library.rglob("*.py")):
        source.update(path.read_bytes())
    return {
        "jax": version("jax"),
        "av": version("av"),
        "sdvsr_jax": source.hexdigest()[:16],
    }
