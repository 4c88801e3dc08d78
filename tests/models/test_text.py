"""The text encoder, as far as the embedding of the empty prompt needs it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.models.text import (
    EMPTY_PROMPT,
    NUM_TOKENS,
    TextConfig,
    TextEncoder,
    empty_prompt_embeds,
)

SMALL = TextConfig(
    hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
)


@pytest.fixture(scope="module")
def params():
    ids = jnp.asarray(EMPTY_PROMPT)
    init = jax.jit(lambda: TextEncoder(SMALL).init(jax.random.key(0), ids))
    return init()["params"]


def test_empty_prompt_is_begin_end_and_the_padding_token() -> None:
    assert EMPTY_PROMPT.tolist() == [[49406, 49407] + [0] * 75]


def test_embeds_of_the_empty_prompt(params) -> None:
    embeds = empty_prompt_embeds(params, SMALL)
    assert embeds.shape == (1, NUM_TOKENS, 8)
    # the final norm centres them, within float32's rounding of 8 values near 1
    np.testing.assert_allclose(embeds.mean(-1), 0, atol=1e-5)


def test_memory_mapped_transposed_params_give_the_same(params) -> None:
    def transposed(leaf: jax.Array) -> np.ndarray:
        return np.asarray(np.asarray(leaf), order="F")

    fortran_order = jax.tree.map(transposed, params)
    expected = empty_prompt_embeds(params, SMALL)
    embeds = empty_prompt_embeds(fortran_order, SMALL)
    np.testing.assert_array_equal(embeds, expected)


@pytest.mark.parametrize("position", [0, 40, 76])
def test_attention_is_causal_and_sees_padding(params, position: int) -> None:
    @jax.jit
    def encode(ids: np.ndarray) -> Any:
        return TextEncoder(SMALL).apply({"params": params}, ids)

    ids = EMPTY_PROMPT.copy()
    ids[0, position] = 7
    difference = encode(ids) - encode(EMPTY_PROMPT)
    (change,) = np.abs(difference).max(-1)
    # a distant token matters little, but more than a rounding of values near 1
    matters = change > 1e-7
    assert not matters[:position].any()
    assert matters[position:].all()


def test_config_from_the_published_file() -> None:
    published = dataclasses.asdict(SMALL) | {"projection_dim": 512}
    assert TextConfig.from_json(published) == SMALL
    without = dict(published)
    del without["hidden_act"]
    with pytest.raises(ValueError, match=r"lacks \['hidden_act'\]"):
        TextConfig.from_json(without)
    other = published | {"hidden_act": "quick_gelu"}
    with pytest.raises(ValueError, match="'quick_gelu', expected 'gelu'"):
        TextConfig.from_json(other)
