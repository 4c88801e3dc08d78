"""Shape annotations are checked in every test; real clips and fixtures beside the
repository are found here.
"""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import compiled_programs
import jax
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# XLA reads them when the first program is compiled.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = compiled_programs.compiler_flags()

# The first example compiles a program, which no deadline of the others covers.
settings.register_profile("compiling", deadline=None)
settings.load_profile("compiling")

# A shell ignores SIGINT for what it starts in the background, and programs that tests
# start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

install_import_hook(["sdvsr_jax", "train"], "type_checks.check")
jax.config.update("jax_default_matmul_precision", "highest")

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SDVSR_SHARED", ROOT.parent / "shared"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Old programs go before the workers begin."""
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker:
        compiled_programs.prune()


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of compiled programs, shared by all workers and kept for the next run."""
    folder = compiled_programs.folder() or tmp_path_factory.mktemp("compiled")
    jax.config.update("jax_compilation_cache_dir", str(folder / "programs"))
    # Reading a program back takes longer than compiling the smallest ones.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts files by their time, so that no worker is left with a long one at the end.

    A mark `heavy(seconds)` says how long a test takes, all others count as one second.
    """
    seconds: Counter[Path] = Counter()
    for item in items:
        marks = [mark.args[0] for mark in item.iter_markers("heavy") if mark.args]
        seconds[item.path] += max(marks, default=1)
    # a stable sort: tests of a file stay together and in their order
    items.sort(key=lambda item: -seconds[item.path])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How much the attackers tried, over all workers."""
    from tests.attack.tally import summary

    for line in summary(terminalreporter):
        terminalreporter.write_line(f"attacked with {line}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Clips, photographs and reference outputs that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(
            f"{SHARED} is not there (set SDVSR_SHARED): needs the reference outputs "
            "and real clips"
        )
    return SHARED
