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
LIST = (
    Path(os.environ.get("SDVSR_SHARED", Path(__file__).parents[2] / "../shared"))
    / "statedict_keys.txt"
)


def digest(shapes: dict[str, tuple[int, ...]]) -> dict[str, int | str]:
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    return {
        "tensors": len(shapes),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


@pytest.fixture(scope="module")
def ours():
    text_encoder, ids = TextEncoder(TextConfig()), jnp.asarray(EMPTY_PROMPT)
    return jax.eval_shape(
        lambda key: init_params(key, stream_diffvsr()), jax.random.key(0)
    ) | {
        "text_encoder": jax.eval_shape(
            lambda key: text_encoder.init(key, ids)["params"], jax.random.key(0)
        )
    }


@pytest.mark.parametrize("part", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(ours, part: str) -> None:
    leaves = flatten_dict(ours[part]).items()
    assert (
        digest(
            {torch_key(path): torch_shape(path, leaf.shape) for path, leaf in leaves}
        )
        == PUBLISHED[part]
    )


@pytest.mark.skipif(
    not LIST.is_file(), reason=f"no list of keys at {LIST} (SDVSR_SHARED)"
)
def test_digests_are_those_of_the_published_list() -> None:
    matched, shapes = {}, {}
    for line in LIST.read_text().splitlines():
        if heading := re.match(r"## (\w+)", line):
            shapes = matched.setdefault(
                {"raft_large": "flow"}.get(heading[1], heading[1]), {}
            )
        elif line and not line.startswith("#"):
            name, _, shape = line.split("\t")
            if not is_ignored(name):
                shapes[name] = tuple(json.loads(shape))
    assert {part: digest(names) for part, names in matched.items()} == PUBLISHED
