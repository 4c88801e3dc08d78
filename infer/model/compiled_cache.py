"""Compiled and traced programs kept for the next start, so that a fresh process reads
a program instead of tracing and compiling the networks again.

They lie in a folder that only this user can write, because programs are code, and are
found by everything that decides them: the computation (``facts``), the shapes of their
arguments, the device, the versions of the libraries and our own source. A traced
program always runs in the form that was (or will be) read back, so its results do not
depend on which run traced it. On a CPU the machine's own code is kept as well: then
nothing is traced or lowered. Not in a folder of JAX's variable, which machines may
share.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jaxlib
from jax import monitoring
from jax.stages import Compiled, Lowered

from infer.model.versions import versions
from sdvsr_jax.ops.attention import program_device
from sdvsr_jax.ops.xla import compiler_options
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import PerNetwork, Prepared

if TYPE_CHECKING:
    from jax.export import Exported

SMALLEST_KEPT = 0.05
"""Seconds of compilation. Small programs are kept as well: together they take longer to
compile than the step takes to be read.
"""
UNCHECKED = ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward", "LayoutConstraint")
"""Targets whose form JAX does not promise to keep; the versions are part of the name of
a program.
"""
UNREADABLE = "Error reading persistent compilation cache entry"
"""The beginning of JAX's warning about a damaged entry."""
Kept = TypeVar("Kept")
SEAL = hashlib.sha256().digest_size

HIT = "/jax/compilation_cache/cache_hits"
"""JAX's name of the event."""
CPU_FACTS = ("model name", "flags", "Features")
"""Lines of Linux's list of processors that say which code runs there."""


@functools.cache
def exporter() -> Any:
    """Returns `jax.export`, which knows our records; many starts do without it."""
    from jax import export

    for record in (StreamState, Prepared, PerNetwork):
        export.register_namedtuple_serialization(
            record, serialized_name=f"sdvsr_jax.{record.__name__}"
        )
    return export


def folder() -> Path:
    """Returns the folder of compiled programs; JAX's own variable wins."""
    explicit = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if explicit:
        return Path(explicit)
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        # The XDG specification calls an empty or relative path invalid.
        base = Path("~/.cache").expanduser()
    return base / "sdvsr_jax" / "compiled"


def fault(path: Path) -> str:
    """Returns why programs are not kept in that folder, or ''."""
    try:
        status = path.lstat()
    except OSError as error:
        return f"not there ({error.strerror})"
    if path.is_symlink() or not path.is_dir():
        return "not a folder of its own (a symbolic link or a file)"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return "belongs to another user"
    if status.st_mode & 0o022:
        mode = f"{status.st_mode & 0o777:03o}"
        return f"others can write there (mode {mode}; chmod 700 makes it private)"
    return "" if os.access(path, os.W_OK) else "cannot be written"


def use() -> None:
    """Keeps compiled programs, if that is safe.

    A folder in JAX's variable is the user's word, and JAX itself reads it.
    """
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SMALLEST_KEPT)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    path = folder()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    # Others who can write in its parent could put a folder of theirs in its place, and
    # that would belong to them.
    if not fault(path):
        jax.config.update("jax_compilation_cache_dir", str(path))


class Program:
    """A traced function of arguments of fixed shapes."""

    def __init__(self, traced: "Exported") -> None:
        self._traced = traced

    def compile(self, *arguments: Any, donate: tuple[int, ...] = ()) -> Compiled:
        """Returns the program ready to run.

        The memory of the arguments numbered in ``donate`` is given to the results.
        """
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SMALLEST_KEPT)
        lowered = self.lower(*arguments, donate=donate)
        with _unreadable_entries_removed():
            return lowered.compile()

    def lower(self, *arguments: Any, donate: tuple[int, ...] = ()) -> Lowered:
        """Returns the program ready to be compiled."""
        function = jax.jit(
            self._traced.call,
            donate_argnums=donate,
            compiler_options=compiler_options(),
        )
        return function.lower(*arguments)


def compiled(
    name: str,
    facts: tuple,
    make: Callable[[], Callable],
    arguments: tuple,
    donate: tuple[int, ...] = (),
) -> Compiled:
    """Returns ``make()(*arguments)`` ready to run: the code that an earlier run kept,
    or the `program` of these arguments compiled.

    The memory of the arguments numbered in ``donate`` is given to the results.
    """
    processor = _processor()
    is_own = _setting("jax_compilation_cache_dir") == str(folder())
    is_shared = "JAX_COMPILATION_CACHE_DIR" in os.environ
    path = None
    if processor and is_own and not is_shared:
        shapes = jax.eval_shape(lambda *a: a, *arguments)
        code_facts = (facts, donate, processor, program_device().id)
        path = _path(f"{name}-code", code_facts, shapes)
    if path is not None:
        earlier = _read(path, _load_code)
        if earlier is not None:
            return earlier
    traced = program(name, facts, make, arguments)
    # Tries the options out, with a program that JAX may have kept.
    compiler_options()
    hits = _hits()
    num_hits = len(hits)
    ready = traced.compile(*arguments, donate=donate)
    # Of a program that JAX read from its own cache XLA writes a part of the code only.
    is_whole = len(hits) == num_hits
    if path is not None and is_whole:
        _keep_code(path, ready)
    return ready


@functools.cache
def _hits() -> list[str]:
    """Returns a list that grows by one with each program from JAX's own cache."""
    hits: list[str] = []

    def note(event: str, **_: Any) -> None:
        if event == HIT:
            hits.append(event)

    monitoring.register_event_listener(note)
    return hits


def result_shape(ready: Compiled) -> Any:
    """Returns shapes and types of the results, without the places they have now."""
    return jax.tree.map(
        lambda result: jax.ShapeDtypeStruct(result.shape, result.dtype), ready.out_info
    )


def _processor() -> str:
    """Returns the properties of this CPU that decide its code; '' where code is not
    kept: on GPUs, and where nobody says which CPU this is.
    """
    if program_device().platform != "cpu":
        return ""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return ""
    # All cores of a machine run the same code.
    first, _, _ = text.partition("\n\n")
    lines = [line for line in first.splitlines() if line.startswith(CPU_FACTS)]
    return "\n".join(lines)


def _keep_code(path: Path, ready: Compiled) -> None:
    from jax.experimental import serialize_executable

    # What a version of JAX cannot serialise is compiled in every start.
    with contextlib.suppress(
        ValueError, NotImplementedError, jax.errors.JaxRuntimeError
    ):
        parts = serialize_executable.serialize(ready)
        _write(path, pickle.dumps(parts))


def _load_code(data: bytes) -> Compiled:
    from jax.experimental import serialize_executable

    parts = pickle.loads(data)
    return serialize_executable.deserialize_and_load(
        *parts, execution_devices=[program_device()]
    )


def program(
    name: str, facts: tuple, make: Callable[[], Callable], arguments: tuple
) -> Program:
    """Returns the traced ``make()(*arguments)``, read back if an earlier run kept it.

    ``arguments`` may be shapes. ``make`` is only called when there is nothing to read,
    so the modules it needs may be imported inside it.
    """
    shapes = jax.eval_shape(lambda *a: a, *arguments)
    path = _path(name, facts, shapes)
    if path is not None:
        earlier = _read(path, read)
        if earlier is not None:
            return earlier
    data = trace(make(), shapes)
    if path is not None:
        _write(path, data)
    return read(data)


def trace(function: Callable, shapes: tuple) -> bytearray:
    """Returns the traced ``function(*shapes)`` as bytes for `read`."""
    export = exporter()
    checks = [export.DisabledSafetyCheck.custom_call(target) for target in UNCHECKED]
    trace_shapes = export.export(jax.jit(function), disabled_checks=checks)
    exported = trace_shapes(*shapes)
    return exported.serialize()


def read(data: bytes | bytearray) -> Program:
    """Returns the program that `trace` wrote."""
    return Program(exporter().deserialize(bytearray(data)))


def _path(name: str, facts: tuple, shapes: Any) -> Path | None:
    cache = _setting("jax_compilation_cache_dir")
    if not cache:
        return None
    path = Path(cache) / "traced"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    if fault(path):
        return None
    leaves = []
    for place, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name_of_leaf = jax.tree_util.keystr(place)
        leaves.append(f"{name_of_leaf} {leaf.shape} {leaf.dtype}")
    identity = repr((facts, leaves, _surroundings()))
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return path / f"{name}-{digest[:32]}.jax"


def _surroundings() -> tuple:
    """Returns the facts that decide a trace besides its function and arguments."""
    device = program_device()
    return (
        device.platform,
        device.device_kind,
        *_versions(),
        os.environ.get("XLA_FLAGS"),
        str(_setting("jax_default_matmul_precision")),
        _setting("jax_enable_x64"),
    )


@functools.cache
def _versions() -> tuple:
    source = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source.update(path.read_bytes())
    return (jaxlib.__version__, source.digest(), *versions().items())


def _setting(name: str) -> Any:
    # Type checkers do not see JAX's settings.
    return getattr(jax.config, name)


def _read(path: Path, load: Callable[[bytes], Kept]) -> Kept | None:
    """Returns the stored program; None if there is none or its bytes have changed."""
    try:
        # A link in the place of a program is not ours.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            content = file.read()
    except OSError:
        return None
    seal = content[:SEAL]
    data = content[SEAL:]
    # JAX reads some damaged programs without a word and fails when they are compiled.
    if hashlib.sha256(data).digest() != seal:
        return None
    try:
        return load(data)
    except Exception:
        # Whatever the reader of another version raises, the program is traced again.
        return None


def _write(path: Path, data: bytes | bytearray) -> None:
    with contextlib.suppress(OSError):
        handle, part = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise


@contextlib.contextmanager
def _unreadable_entries_removed() -> Iterator[None]:
    """Removes compiled programs that JAX cannot read; it would never replace them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    is_damaged = False
    for warning in caught:
        if str(warning.message).startswith(UNREADABLE):
            is_damaged = True
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if is_damaged:
        remove_unreadable(Path(_setting("jax_compilation_cache_dir")))


def remove_unreadable(path: Path) -> None:
    """Removes the compiled programs in a folder that cannot be unpacked.

    Where JAX packs with another library than zlib, that is all of them.
    """
    for entry in path.glob("*-cache"):
        try:
            zlib.decompress(entry.read_bytes())
        except (OSError, zlib.error):
            entry.unlink(missing_ok=True)
