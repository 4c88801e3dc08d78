"""Weights and programs from a bad disk: refused or made again, never trusted."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from sdvsr_jax.weights import load as checkpoint
from tests.attack.conftest import Upscale
from tests.attack.recordings import record

ROOT = Path(__file__).parents[2]


def changed(model: str, folder: Path, value: float, every: bool = False) -> Path:
    """The model with one value of one kernel, or all values, replaced or scaled."""
    config, params = checkpoint.load(model)
    leaves = {}
    for name, leaf in flatten_dict(params).items():
        leaves[name] = np.array(leaf)
    if every:
        for name, leaf in leaves.items():
            leaves[name] = (leaf * value).astype(leaf.dtype)
    else:
        kernels = [name for name in sorted(leaves) if leaves[name].ndim > 1]
        # A single value anywhere: a check of some would not see it.
        leaves[kernels[0]].flat[3] = value
    path = folder / "changed.safetensors"
    checkpoint.save(path, config, unflatten_dict(leaves))
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(
    upscale: Upscale, tiny_model: str, tmp_path: Path, value: float
) -> None:
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    model = changed(tiny_model, tmp_path, value)
    before = set(os.listdir(tmp_path))
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", source, "-o", output, model=model)
    outcome.check_refused("changed.safetensors", "finite", status=2)
    assert set(os.listdir(tmp_path)) == before
    with pytest.raises(ValueError, match="finite"):
        checkpoint.load(str(model))


# A file, pictures, and a live session, each with a sink of its own.
@pytest.mark.parametrize("output", ["o.mp4", "frames", "o.ts"])
def test_a_frame_that_is_not_finite_stops_the_job(
    upscale: Upscale, tiny_model: str, tmp_path: Path, output: str
) -> None:
    """Finite weights so large that activations overflow."""
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=4)
    # A product of two of them is beyond float32's 3e38.
    model = changed(tiny_model, tmp_path, 1e30, every=True)
    before = set(os.listdir(tmp_path))
    outcome = upscale("--video", source, "-o", tmp_path / output, model=model)
    outcome.check_refused("finite", status=1)
    assert set(os.listdir(tmp_path)) == before


JOB = "import sys; from infer.__main__ import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def job_with_cache(tiny_model: str, tmp_path: Path) -> Callable[[], str]:
    """Run a job in a process with a cache of its own; returns its messages."""
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    output = str(tmp_path / "o.mp4")
    words = ["--video", str(source), "-o", output, "--overwrite"]

    def run() -> str:
        process = subprocess.run(
            [sys.executable, "-c", JOB, *words, "--model", tiny_model],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            # A process without any compiled program.
            timeout=300,
        )
        assert process.returncode == 0, process.stderr
        return process.stderr

    return run


def spoil(path: Path, how: str, rng: random.Random) -> None:
    """Damage a file as disks and full disks do."""
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del data[len(data) // 2 :]
    else:
        data.clear()
    path.write_bytes(bytes(data))


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_a_damaged_cache_is_made_again(
    job_with_cache: Callable[[], str], tmp_path: Path, how: str
) -> None:
    """Every entry is damaged, traced programs as well as compiled ones."""
    rng = random.Random(how)
    job_with_cache()
    output = tmp_path / "o.mp4"
    good = output.read_bytes()
    paths = (tmp_path / "cache").rglob("*")
    entries = [path for path in paths if path.is_file()]
    assert entries
    for _ in range(3):
        for path in entries:
            # Removed by the run before, as what could not be read.
            if path.exists():
                spoil(path, how, rng)
        job_with_cache()
        assert output.read_bytes() == good


@pytest.fixture
def own_programs(tmp_path: Path) -> Iterator[None]:
    """The folder of the test is that of compiled programs."""
    name = "jax_compilation_cache_dir"
    before = getattr(jax.config, name)
    jax.config.update(name, str(tmp_path))
    yield
    jax.config.update(name, before)


@pytest.mark.usefixtures("own_programs")
def test_one_flipped_bit_in_a_program_is_noticed(tmp_path: Path) -> None:
    """The kept program of a function computes the function or is made again."""
    from infer.model import compiled_cache

    shapes = (jax.ShapeDtypeStruct((4,), np.float32),)

    def make() -> Callable:
        return lambda x: x * x

    def value() -> list[float]:
        program = compiled_cache.program("square", (), make, shapes)
        square = program.compile(*shapes)
        result = square(np.arange(4, dtype=np.float32))
        return np.asarray(result).tolist()

    assert value() == [0, 1, 4, 9]
    (entry,) = (tmp_path / "traced").iterdir()
    data = entry.read_bytes()
    rng = random.Random(0)
    # Sixty of some thousand bytes: each is a trace of the function.
    for place in rng.sample(range(len(data)), 60):
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << rng.randrange(8)
        entry.write_bytes(spoiled)
        assert value() == [0, 1, 4, 9]
        assert entry.read_bytes() != bytes(spoiled)


def test_a_pin_that_is_damaged_is_told(upscale: Upscale, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pins = tmp_path / "cache/sdvsr_jax/pins"
    pins.mkdir(parents=True)
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    for content in (b"", b"{", b"[]", b'{"commit": 3}', b"\xff\xfe", b"null"):
        (pins / "someone--model.json").write_bytes(content)
        output = tmp_path / "o.mp4"
        words = ("--video", source, "-o", output, "--offline")
        outcome = upscale(*words, model="someone/model")
        outcome.check_refused("someone", status=2)


ODD = [
    ("num_steps", -1),
    ("num_steps", 10**9),
    ("num_levels", 0),
    ("latent_channels", 0),
    ("latent_channels", -4),
    ("block_channels", []),
    ("block_channels", "8"),
    ("num_groups", 0),
    ("compute_dtype", "float3"),
    ("consistency_sigma", -1),
    # More layers than anybody's memory: it must be refused before they are made.
    ("num_levels", 10**9),
    ("num_train_timesteps", 1),
    ("scale", 0),
    ("size_multiple", 2**40),
    # Infinity, as JSON of Python has it.
    ("beta_end", 1e999),
]


@pytest.mark.parametrize(("key", "value"), ODD)
def test_odd_configs_of_a_model_are_told(
    upscale: Upscale, tiny_model: str, tmp_path: Path, key: str, value: object
) -> None:
    source = record(tmp_path / "in.mp4", "mp4", "libx264", count=2)
    path = tmp_path / "odd.safetensors"
    model = Path(tiny_model).read_bytes()
    path.write_bytes(with_config(model, key, value))
    before = set(os.listdir(tmp_path))
    output = tmp_path / "o.mp4"
    outcome = upscale("--video", source, "-o", output, model=path)
    outcome.check_refused("odd.safetensors", status=2)
    assert set(os.listdir(tmp_path)) == before


def with_config(data: bytes, key: str, value: object) -> bytes:
    """The file with every field of that name in its config replaced."""
    # the length of the JSON behind it, as safetensors begins
    size = int.from_bytes(data[:8], "little")
    end = 8 + size
    head = json.loads(data[8:end])
    config = json.loads(head["__metadata__"]["config"])
    assert replace_everywhere(config, key, value)
    head["__metadata__"] = {"config": json.dumps(config)}
    text = json.dumps(head).encode()
    length = len(text).to_bytes(8, "little")
    return length + text + data[end:]


def replace_everywhere(tree: object, key: str, value: object) -> int:
    """Replace in place; returns how often."""
    if not isinstance(tree, dict):
        return 0
    count = 0
    for name, inner in tree.items():
        if name == key:
            tree[name] = value
            count += 1
        else:
            count += replace_everywhere(inner, key, value)
    return count
