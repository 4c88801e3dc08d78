"""A tree of parameters as a flat dict by path, and back."""

import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from hypothesis import given
from hypothesis import strategies as st

from sdvsr_jax.weights.paths import flatten, unflatten

NAMES = st.sampled_from(["a", "b", "kernel", "layers_10", "layers_2"])
LEAVES = st.integers()
# no empty group: it has no leaf, and so no path
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1), max_leaves=12
).filter(lambda tree: isinstance(tree, dict))


@given(TREES)
def test_a_tree_comes_back_and_its_paths_are_those_of_flax(tree: dict) -> None:
    leaves = flatten(tree)
    # lists, because dicts of another order are equal
    assert list(leaves.items()) == list(flatten_dict(tree).items())
    assert unflatten(leaves) == tree
    assert unflatten(leaves) == unflatten_dict(leaves)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([("a",), ("a", "b")], "a/b leads through an array"),
        ([("a", "b"), ("a",)], "a is an array and a group of arrays"),
    ],
)
def test_a_name_is_an_array_or_a_group(paths: list, words: str) -> None:
    leaves = dict.fromkeys(paths, 0)
    with pytest.raises(ValueError, match=words):
        unflatten(leaves)
