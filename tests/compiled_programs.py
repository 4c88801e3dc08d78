"""Compiled programs kept between test runs: most of a test's time is compilation.

JAX finds a program by its code, its options and the version of the compiler, so one
that no longer fits is never read. It does not look at the machine, which decides the
instructions in it: every kind of machine has a folder of its own here.
"""

import hashlib
import mmap
import os
import platform
import shutil
import time
from pathlib import Path

import jax
import jaxlib

FLAGS = (
    # tiny models run as fast without LLVM's optimisations
    ("xla_backend_optimization_level", "0"),
    # the older emitter of loops compiles a step in half the time
    ("xla_cpu_use_fusion_emitters", "false"),
)
"""Flags of XLA for tests, most of whose time is compilation."""

LIMIT_BYTES = 2**30
"""Two full runs write about a third of this."""

MAX_AGE_SECONDS = 30 * 24 * 3600
"""Folders of other machines and versions go after a month without use."""


def compiler_flags() -> str:
    """Returns `XLA_FLAGS` for tests: the flags that this version of XLA knows.

    An unknown flag aborts the process, so the library is searched for its name.
    """
    return " ".join(f"--{name}={value}" for name, value in FLAGS if _is_known(name))


def _is_known(flag: str) -> bool:
    libraries = Path(jaxlib.__file__).parent.glob("*jax_common*")
    return any(_holds(library, flag.encode()) for library in libraries)


def _holds(path: Path, word: bytes) -> bool:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(word) >= 0


def root() -> Path:
    """Returns the folder of all kept programs, of any machine and version."""
    cache = os.environ.get("SDVSR_TEST_CACHE") or "~/.cache/sdvsr-tests"
    return Path(cache).expanduser()


def folder() -> Path | None:
    """Returns this machine's folder; None if others could write programs into it."""
    path = root() / _key()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = all(_is_private(place) for place in (root(), path))
    except OSError:
        return None
    return path if private else None


def prune() -> None:
    """Removes folders out of use, and this one when it has outgrown its limit."""
    if not root().is_dir():
        return
    current = folder()
    for path in root().iterdir():
        if path == current:
            is_useless = _size(path) > LIMIT_BYTES
        else:
            is_useless = time.time() - path.stat().st_mtime > MAX_AGE_SECONDS
        if is_useless:
            shutil.rmtree(path, ignore_errors=True)
    if current is not None and current.is_dir():
        os.utime(current)


def _key() -> str:
    surroundings = [
        jax.__version__,
        jaxlib.__version__,
        platform.machine(),
        _processor_features(),
        os.environ.get("XLA_FLAGS", ""),
    ]
    text = "\n".join(surroundings)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _processor_features() -> str:
    """Returns the line of instruction sets (Linux), or the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = ("flags", "Features")
    return next((line for line in lines if line.startswith(names)), "")


def _is_private(path: Path) -> bool:
    status = path.stat()
    # Windows has no owners of this kind; there the profile's folder is private.
    is_ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    others_write = status.st_mode & 0o022
    return is_ours and not others_write


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
