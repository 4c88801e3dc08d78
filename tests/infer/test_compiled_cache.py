"""Traced programs are kept, replaced when damaged, and never trusted where others can
write.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from infer.model import compiled_cache
from infer.model.compiled_cache import compiled, program
from sdvsr_jax import init_state, step

FACTS = ("sum", 3)
NUMBERS = jax.ShapeDtypeStruct((4,), jnp.float32)
ONES = np.ones(4, np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    name = "jax_compilation_cache_dir"
    before = getattr(jax.config, name)
    jax.config.update(name, str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update(name, before)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that is used where JAX's variable names none; JAX keeps nothing."""
    monkeypatch.setattr(compiled_cache, "SMALLEST_KEPT", math.inf)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = "jax_compilation_cache_dir"
    before = getattr(jax.config, name)
    compiled_cache.use()
    yield compiled_cache.folder() / "traced"
    jax.config.update(name, before)


def never() -> Callable:
    raise AssertionError("traced although it is kept")


def sums() -> Callable:
    return lambda x: {"sum": x.sum(), "twice": 2 * x}


def sum_by(make: Callable) -> float:
    """The sum of four ones, by the program that is compiled or kept."""
    run = compiled("sums", FACTS, make, (NUMBERS,))
    return run(ONES)["sum"]


def keep_sums(cache: Path) -> Path:
    """Keeps the program; returns its file."""
    program("sums", FACTS, sums, (NUMBERS,))
    (file,) = cache.iterdir()
    return file


def test_a_second_process_would_read_the_program_of_the_first(cache: Path) -> None:
    first = program("sums", FACTS, sums, (NUMBERS,))
    second = program("sums", FACTS, never, (NUMBERS,))
    expected = first.compile(ONES)(ONES)
    result = second.compile(ONES)(ONES)
    jax.tree.map(np.testing.assert_array_equal, result, expected)
    assert second.lower(ONES).out_info["twice"].shape == (4,)
    (file,) = cache.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("change", ["facts", "shape", "type", "name"])
def test_every_fact_of_a_program_leads_to_another(cache: Path, change: str) -> None:
    keep_sums(cache)
    name = "sum" if change == "name" else "sums"
    facts = (*FACTS, change == "facts")
    size = 5 if change == "shape" else 4
    dtype = jnp.int32 if change == "type" else jnp.float32
    numbers = jax.ShapeDtypeStruct((size,), dtype)
    program(name, facts, sums, (numbers,))
    assert len(list(cache.iterdir())) == 2


needs_code = pytest.mark.skipif(
    not compiled_cache._processor(), reason="code is kept where the CPU is named"
)


@needs_code
def test_code_for_this_cpu_is_read_without_its_traced_form(own_cache: Path) -> None:
    first = compiled("sums", FACTS, sums, (NUMBERS,))
    for file in own_cache.glob("sums-*"):
        assert file.stat().st_mode & 0o077 == 0
        if not file.name.startswith("sums-code-"):
            file.unlink()
    second = compiled("sums", FACTS, never, (NUMBERS,))
    result = second(ONES)
    expected = first(ONES)
    jax.tree.map(np.testing.assert_array_equal, result, expected)
    shapes = compiled_cache.result_shape(second)
    assert shapes["twice"].shape == (4,)
    # a program that gives its arguments away is another one
    with pytest.raises(AssertionError, match="traced"):
        compiled("sums", FACTS, never, (NUMBERS,), donate=(0,))


@needs_code
def test_code_of_another_cpu_is_not_read(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled("sums", FACTS, sums, (NUMBERS,))
    monkeypatch.setattr(compiled_cache, "_processor", lambda: "another")
    assert sum_by(sums) == 4
    assert len(list(own_cache.glob("sums-code-*"))) == 2


def test_no_code_is_kept_in_a_folder_that_machines_may_share(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = str(compiled_cache.folder())
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", shared)
    assert sum_by(sums) == 4
    assert list(own_cache.glob("sums-*"))
    assert not list(own_cache.glob("sums-code-*"))


@needs_code
@pytest.mark.parametrize("place", [0.0, 0.5, 0.9])
def test_damaged_code_is_compiled_again(own_cache: Path, place: float) -> None:
    compiled("sums", FACTS, sums, (NUMBERS,))
    (file,) = own_cache.glob("sums-code-*")
    damaged = bytearray(file.read_bytes())
    position = int(place * len(damaged))
    damaged[position] ^= 4
    file.write_bytes(damaged)
    assert sum_by(sums) == 4
    assert file.read_bytes() != bytes(damaged)
    assert sum_by(never) == 4


@needs_code
def test_code_of_a_program_from_jaxs_own_cache_is_not_kept(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written again it would lack functions."""
    monkeypatch.setattr(compiled_cache, "SMALLEST_KEPT", 0.0)
    jax_cache.reset_cache()
    compiled("sums", FACTS, sums, (NUMBERS,))
    (file,) = own_cache.glob("sums-code-*")
    file.unlink()
    jax.clear_caches()
    assert sum_by(sums) == 4
    assert not file.exists()
    jax_cache.reset_cache()


# In the checksum, near the beginning, in the middle and near the end.
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9])
def test_one_flipped_bit_makes_a_program_be_traced_again(
    cache: Path, place: float
) -> None:
    file = keep_sums(cache)
    good = file.read_bytes()
    position = int(place * len(good))
    damaged = bytearray(good)
    damaged[position] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))
    again = program("sums", FACTS, sums, (NUMBERS,))
    run = again.compile(ONES)
    assert run(ONES)["sum"] == 4
    # kept anew, and not as it was damaged: the places of its source may differ
    assert file.read_bytes() != bytes(damaged)


# Around the 32 bytes of a checksum, and within the program.
@pytest.mark.parametrize("length", [0, 10, 31, 32, 500])
def test_a_program_that_was_cut_is_traced_again(cache: Path, length: int) -> None:
    file = keep_sums(cache)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))


def test_nothing_is_read_from_a_folder_in_which_others_can_write(cache: Path) -> None:
    keep_sums(cache)
    # As a folder in /tmp would be that another user has made.
    cache.chmod(0o777)
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))


def test_no_symbolic_link_is_followed(cache: Path, tmp_path: Path) -> None:
    file = keep_sums(cache)
    elsewhere = tmp_path / "elsewhere.jax"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))
    file.unlink()
    moved = tmp_path / "moved"
    cache.rename(moved)
    cache.symlink_to(moved)
    elsewhere.rename(moved / file.name)
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))


def test_without_a_cache_it_works_and_keeps_nothing(cache: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    ready = program("sums", FACTS, sums, (NUMBERS,)).compile(ONES)
    assert ready(ONES)["sum"] == 4
    assert not cache.exists()


@pytest.mark.parametrize("value", ["", ".", "relative/cache"])
def test_a_relative_cache_home_is_none(
    monkeypatch: pytest.MonkeyPatch, value: str, tmp_path: Path
) -> None:
    """The specification says so; '' once meant the current folder."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    expected = tmp_path / ".cache" / "sdvsr_jax" / "compiled"
    assert compiled_cache.folder() == expected


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_faults_of_a_folder_are_told(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    assert compiled_cache.fault(private) == ""
    # The group may write: one of its members is enough.
    private.chmod(0o720)
    assert "others can write" in compiled_cache.fault(private)
    link = tmp_path / "link"
    link.symlink_to(private)
    assert "symbolic link" in compiled_cache.fault(link)
    assert "not there" in compiled_cache.fault(tmp_path / "none")


def test_compiled_programs_that_cannot_be_unpacked_are_removed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX compiles anew beside a damaged entry, but never replaces it."""
    monkeypatch.setattr(compiled_cache, "SMALLEST_KEPT", 0.0)
    # JAX looks at the name of its folder once.
    jax_cache.reset_cache()
    small = program("sums", FACTS, sums, (NUMBERS,))
    small.compile(ONES)
    entries = list(cache.parent.glob("*-cache"))
    assert entries
    damaged = {}
    for entry in entries:
        data = bytearray(entry.read_bytes())
        # the first byte: a packer without checksums sees no change behind it
        data[0] ^= 4
        entry.write_bytes(data)
        damaged[entry] = bytes(data)
    jax.clear_caches()
    run = small.compile(ONES)
    assert run(ONES)["sum"] == 4
    for entry, data in damaged.items():
        assert not entry.exists() or entry.read_bytes() != data
    jax_cache.reset_cache()


def test_the_step_of_a_model_survives_with_its_state_donated(own_cache: Path) -> None:
    config, params = tiny_models.tiny("nano")
    frame = jnp.asarray(tiny_models.frames(1)[0])
    state = init_state(config, 1, *frame.shape[1:3])
    arguments = (params, state, frame)
    pure_step = functools.partial(step, config=config)
    expected = jax.jit(pure_step)(*arguments)[1]
    program("step", (config,), lambda: pure_step, arguments)
    traced = program("step", (config,), never, arguments)
    run = traced.compile(*arguments, donate=(1,))
    compiled("step", (config,), lambda: pure_step, arguments, donate=(1,))
    for file in own_cache.glob("step-*"):
        if not file.name.startswith("step-code-"):
            file.unlink()
    if compiled_cache._processor():
        run = compiled("step", (config,), never, arguments, donate=(1,))
    after, sr = run(*arguments)
    # Two programs of one function may fuse differently: rounding of values up to 1.
    np.testing.assert_allclose(sr, expected, atol=1e-5)
    assert state.prev_sr.is_deleted()
    # The random key and the state's own type come through.
    assert type(after) is type(state)
    assert after.key.dtype == state.key.dtype
