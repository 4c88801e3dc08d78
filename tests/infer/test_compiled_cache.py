"""Traced programs are kept, found again by what decides them, and never trusted where
others can write.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from infer.model.compiled_cache import program
from sdvsr_jax import init_state, step

FACTS = ("sum", 3)
NUMBERS = jax.ShapeDtypeStruct((4,), jnp.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update("jax_compilation_cache_dir", before)


def never() -> Callable:
    raise AssertionError("traced although it is kept")


def sums() -> Callable:
    return lambda x: {"sum": x.sum(), "twice": 2 * x}


def test_a_second_process_would_read_what_the_first_traced(cache: Path) -> None:
    first = program("sums", FACTS, sums, (NUMBERS,))
    again = program("sums", FACTS, never, (NUMBERS,))
    x = jnp.arange(4.0)
    for found, expected in zip(
        *(jax.tree.leaves(p.compile(x)(x)) for p in (again, first))
    ):
        assert np.array_equal(found, expected)
    assert again.result_shape["twice"].shape == (4,)
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert cache.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("change", ["facts", "shape", "type", "name"])
def test_whatever_decides_a_program_leads_to_another(cache: Path, change: str) -> None:
    program("sums", FACTS, sums, (NUMBERS,))
    shape = (5,) if change == "shape" else (4,)
    other = jax.ShapeDtypeStruct(shape, jnp.int32 if change == "type" else jnp.float32)
    program(
        "sum" if change == "name" else "sums",
        (*FACTS, change == "facts"),
        sums,
        (other,),
    )
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_program_is_traced_again(cache: Path) -> None:
    program("sums", FACTS, sums, (NUMBERS,))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))
    program("sums", FACTS, sums, (NUMBERS,))
    assert len(kept.read_bytes()) == len(whole)


def test_nothing_is_read_from_a_folder_in_which_others_can_write(cache: Path) -> None:
    program("sums", FACTS, sums, (NUMBERS,))
    cache.chmod(0o777)
    with pytest.raises(AssertionError, match="traced"):
        program("sums", FACTS, never, (NUMBERS,))


def test_without_a_cache_it_works_and_keeps_nothing(cache: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    x = jnp.ones(4)
    assert program("sums", FACTS, sums, (NUMBERS,)).compile(x)(x)["sum"] == 4
    assert not cache.exists()


def test_the_step_of_a_model_survives_with_its_state_donated(cache: Path) -> None:
    config, params = tiny_models.tiny("nano")
    frame = jnp.asarray(tiny_models.frames(1)[0])
    state = init_state(config, 1, *frame.shape[1:3])
    arguments = (params, state, frame)
    makers = (lambda: functools.partial(step, config=config), never)
    kept = [program("step", (config,), make, arguments) for make in makers]
    direct = jax.jit(functools.partial(step, config=config))(*arguments)[1]
    run = kept[1].compile(*arguments, donate=(1,))
    new, sr = run(*arguments)
    np.testing.assert_allclose(sr, direct, atol=1e-5)
    assert state.prev_sr.is_deleted()
    # The random key and the state's own type come through.
    assert type(new) is type(state)
    assert new.key.dtype == state.key.dtype
