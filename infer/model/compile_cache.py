"""Compiled programs kept for the next start, in a folder that only this user can write:
they are code.
"""

import os
from pathlib import Path

import jax


def folder() -> Path:
    """Where they are kept; JAX's own variable wins."""
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        / "sdvsr_jax"
        / "compiled"
    )


def fault(path: Path) -> str:
    """Why programs are not kept there, or ''."""
    try:
        status = path.stat()
    except OSError as error:
        return f"not there ({error.strerror})"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & 0o022:
        return f"others can write there (mode {status.st_mode & 0o777:03o}; chmod 700 makes it private)"
    return "" if os.access(path, os.W_OK) else "cannot be written"


def use() -> None:
    """Keep compiled programs, if they can be kept safely; a folder named in JAX's
    variable is the user's word.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    path = folder()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    if not fault(path):
        jax.config.update("jax_compilation_cache_dir", str(path))
