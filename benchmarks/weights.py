"""Random weights of full size: they cost what trained ones do, and need no download."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import abstract_params, prepare
from sdvsr_jax.types import Params
from sdvsr_jax.weights.torch_names import flatten, unflatten

POOL = 2**20


def random_params(config: ModelConfig) -> Params:
    """Raw float32 weights (numpy), scaled so that activations stay moderate and no part
    is zero.
    """
    rng = np.random.default_rng(0)
    pool = rng.standard_normal(POOL).astype(np.float32)

    def leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        # One pool, entered at a random place for every leaf: drawing 700 million
        # numbers takes longer than a frame.
        noise = np.resize(np.roll(pool, rng.integers(POOL)), shape)
        if path[-1] == "kernel":
            return noise / np.float32(math.sqrt(math.prod(shape[:-1])))
        if path[-1] in ("scale", "running_var"):
            return 1 + np.float32(0.1) * np.abs(noise)
        return np.float32(0.1) * noise

    return unflatten(
        {
            path: leaf(path, s.shape)
            for path, s in flatten(abstract_params(config)).items()
        }
    )


def prepared_params(config: ModelConfig, raw: Params | None = None) -> Params:
    """Random (or the given) weights ready for `step`, on the default device."""
    made = jax.jit(prepare, static_argnums=1)(
        random_params(config) if raw is None else raw, config
    )
    return jax.block_until_ready(made)


def noise_frame(width: int, height: int, batch: int = 1, seed: int = 0) -> jax.Array:
    """An LR frame [batch, height, width, 3] of uniform noise in [-1, 1]; contents do
    not change the time.
    """
    return jax.random.uniform(
        jax.random.key(seed), (batch, height, width, 3), jnp.float32, -1
    )


def num_bytes(tree: Any) -> int:
    """Of all arrays in a pytree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
