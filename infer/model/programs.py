"""Traced programs kept between runs, so that a fresh process reads one instead of
tracing the networks again.

They lie beside the compiled ones and are found by everything that decides them: what
they compute (``facts``), the shapes of their arguments, the device, the versions of the
libraries and our own source. A program always runs in the form that was (or will be)
read back, so its results do not depend on which run traced it.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jaxlib
from jax import export
from jax.stages import Compiled, Lowered

from infer.jobs.fingerprint import versions
from sdvsr_jax.ops.attention import program_device
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.state import StreamState

CUDNN = ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward")
"""Targets whose form JAX does not promise to keep; the versions are part of the name of
a program.
"""

export.register_namedtuple_serialization(
    StreamState, serialized_name="sdvsr_jax.StreamState"
)


class Program:
    """A traced function of arguments of fixed shapes."""

    def __init__(self, traced: export.Exported) -> None:
        self._traced = traced

    @property
    def result_shape(self) -> Any:
        """Shapes and types of the result."""
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype),
            self._traced.out_tree.unflatten(self._traced.out_avals),
        )

    def compile(self, *arguments: Any, donate: tuple[int, ...] = ()) -> Compiled:
        """Ready to run; the memory of the arguments numbered in ``donate`` is given to
        the results.
        """
        # Small programs are kept as well: together they take longer to compile than the
        # step takes to be read.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
        return self.lower(*arguments, donate=donate).compile()

    def lower(self, *arguments: Any, donate: tuple[int, ...] = ()) -> Lowered:
        """Ready to be compiled."""
        return jax.jit(
            self._traced.call,
            donate_argnums=donate,
            compiler_options=compiler_options(),
        ).lower(*arguments)


def program(
    name: str, facts: tuple, make: Callable[[], Callable], arguments: tuple
) -> Program:
    """The traced ``make()(*arguments)``, read back if an earlier run kept it;
    ``arguments`` may be shapes.

    ``make`` is only called when there is nothing to read, so what it needs may be
    imported inside it.
    """
    shapes = jax.eval_shape(lambda *a: a, *arguments)
    path = _path(name, facts, shapes)
    if path is not None and (found := _read(path)) is not None:
        return Program(found)
    data = trace(make(), shapes)
    if path is not None:
        _write(path, data)
    return Program(export.deserialize(data))


def trace(function: Callable, shapes: tuple) -> bytearray:
    """The traced ``function(*shapes)`` as bytes, which `read` turns into a program
    again.
    """
    checks = [export.DisabledSafetyCheck.custom_call(target) for target in CUDNN]
    return export.export(jax.jit(function), disabled_checks=checks)(*shapes).serialize()


def read(data: bytes | bytearray) -> Program:
    """The inverse of `trace`."""
    return Program(export.deserialize(bytearray(data)))


def _path(name: str, facts: tuple, shapes: Any) -> Path | None:
    cache = _setting("jax_compilation_cache_dir")
    if not cache:
        return None
    folder = Path(cache) / "traced"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    # Programs are code: never from a folder in which others can write.
    if status.st_mode & 0o022 or (
        hasattr(os, "getuid") and status.st_uid != os.getuid()
    ):
        return None
    leaves = [
        f"{jax.tree_util.keystr(p)} {s.shape} {s.dtype}"
        for p, s in jax.tree_util.tree_leaves_with_path(shapes)
    ]
    return (
        folder
        / f"{name}-{hashlib.sha256(repr((facts, leaves, _surroundings())).encode()).hexdigest()[:32]}.jax"
    )


def _surroundings() -> tuple:
    """What a trace depends on besides its function and arguments."""
    device = program_device()
    flags = (
        os.environ.get("XLA_FLAGS"),
        str(_setting("jax_default_matmul_precision")),
        _setting("jax_enable_x64"),
    )
    return (device.platform, device.device_kind, *_versions(), *flags)


@functools.cache
def _versions() -> tuple:
    source = hashlib.sha256(
        b"".join(
            path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))
        )
    )
    return (jaxlib.__version__, source.digest(), *versions().items())


def _setting(name: str) -> Any:
    return getattr(jax.config, name)  # type checkers do not see JAX's settings


def _read(path: Path) -> export.Exported | None:
    try:
        return export.deserialize(bytearray(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (
        Exception
    ):  # damaged, or from another version of the format: it is traced again
        return None


def _write(path: Path, data: bytes | bytearray) -> None:
    with contextlib.suppress(OSError):
        handle, part = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
