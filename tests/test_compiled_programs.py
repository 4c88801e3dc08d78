"""Programs that tests keep between runs are private and are not read elsewhere."""

import os
from pathlib import Path

import compiled_programs
import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDVSR_TEST_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_another_version_machine_or_flag_has_another_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [compiled_programs.folder()]
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=1")
    folders.append(compiled_programs.folder())
    monkeypatch.setattr("jax.__version__", "0.0.1")
    folders.append(compiled_programs.folder())
    monkeypatch.setattr(compiled_programs, "_processor_features", lambda: "flags: sse")
    folders.append(compiled_programs.folder())
    assert len(set(folders)) == 4
    assert {path.parent for path in folders if path} == {root}


def test_a_flag_that_this_version_does_not_know_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would abort the process."""
    known = ("xla_backend_optimization_level", "0")
    flags = (known, ("xla_cpu_no_such_flag", "1"))
    monkeypatch.setattr(compiled_programs, "FLAGS", flags)
    assert compiled_programs.compiler_flags() == "--xla_backend_optimization_level=0"


def test_a_folder_in_which_others_can_write_is_not_used(root: Path) -> None:
    folder = compiled_programs.folder()
    assert folder is not None
    # a program in it would be run
    folder.chmod(0o777)
    assert compiled_programs.folder() is None


def test_folders_out_of_use_and_one_that_has_outgrown_its_limit_are_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = compiled_programs.folder()
    assert folder is not None
    (folder / "program").write_bytes(bytes(100))
    unused = root / "unused"
    unused.mkdir()
    # last used in 1970
    os.utime(unused, (0, 0))
    compiled_programs.prune()
    assert sorted(root.iterdir()) == [folder]
    monkeypatch.setattr(compiled_programs, "LIMIT_BYTES", 99)
    compiled_programs.prune()
    assert not folder.exists()
