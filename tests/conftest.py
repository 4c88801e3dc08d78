"""Shape annotations are checked in every test; real clips and fixtures beside the
repository are found here.
"""

import os
import signal
from pathlib import Path

# Most of the time of a test is compilation, and tiny models run as fast without LLVM's
# optimisations.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest
from jaxtyping import install_import_hook

# A shell ignores SIGINT for what it starts in the background, and programs that tests
# start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

install_import_hook(["sdvsr_jax"], "beartype.beartype")
jax.config.update("jax_default_matmul_precision", "highest")

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SDVSR_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one worker has compiled, the others read: a tenth of the time of all tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first, so that no worker is left with one at the end; a mark
    `heavy(seconds)` says how long.
    """
    items.sort(
        key=lambda item: max(
            (m.args[0] for m in item.iter_markers("heavy") if m.args), default=0
        ),
        reverse=True,
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """Clips, photographs and reference outputs that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(
            f"{SHARED} is not there (set SDVSR_SHARED): needs the reference outputs and real clips"
        )
    return SHARED
