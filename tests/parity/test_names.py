"""Parameter names, shapes and counts of the full-size preset against the published
checkpoint, without memory.
"""

import hashlib
import json
import math
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from sdvsr_jax import stream_diffvsr
from sdvsr_jax.models.text import EMPTY_PROMPT, TextConfig, TextEncoder
from sdvsr_jax.networks import init_params
from sdvsr_jax.weights.torch_names import is_ignored, torch_key, torch_shape

PUBLISHED = json.loads(
    (Path(__file__).parent / "fixtures" / "published_names.json").read_text()
)
BESIDE = Path(__file__).parents[3] / "shared"
LIST = Path(os.environ.get("SDVSR_SHARED", BESIDE)) / "statedict_keys.txt"


def digest(shapes: dict[str, tuple[int, ...]]) -> dict[str, int | str]:
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    return {
        "tensors": len(shapes),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


@pytest.fixture(scope="module")
def ours():
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: init_params(key, stream_diffvsr()))
    ids = jnp.asarray(EMPTY_PROMPT)
    text_encoder = TextEncoder(TextConfig())
    text_shapes = jax.eval_shape(lambda: text_encoder.init(key, ids))
    return shapes | {"text_encoder": text_shapes["params"]}


@pytest.mark.parametrize("part", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(ours, part: str) -> None:
    leaves = flatten_dict(ours[part])
    shapes = {
        torch_key(path): torch_shape(path, leaf.shape) for path, leaf in leaves.items()
    }
    assert digest(shapes) == PUBLISHED[part]


@pytest.mark.skipif(
    not LIST.is_file(), reason=f"no list of keys at {LIST} (SDVSR_SHARED)"
)
def test_digests_are_those_of_the_published_list() -> None:
    parts = {}
    shapes = {}
    for line in LIST.read_text().splitlines():
        if heading := re.match(r"## (\w+)", line):
            # the list has torchvision's name for it
            part = "flow" if heading[1] == "raft_large" else heading[1]
            shapes = parts.setdefault(part, {})
        elif line and not line.startswith("#"):
            name, _, shape = line.split("\t")
            if not is_ignored(name):
                shapes[name] = tuple(json.loads(shape))
    digests = {part: digest(shapes) for part, shapes in parts.items()}
    assert digests == PUBLISHED
