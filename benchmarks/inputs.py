"""What a benchmark feeds a model: random weights of full size, frames of noise.

They cost what trained weights and real frames do, and need no download.
"""

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
"""Random numbers that all weights share: drawing 700 million takes longer than a frame."""


def random_params(config: ModelConfig) -> Params:
    """Returns raw float32 weights (numpy), scaled so that activations stay moderate."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal(POOL).astype(np.float32)

    def leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        # Every leaf enters the pool at a place of its own.
        entry = rng.integers(POOL)
        noise = np.resize(np.roll(pool, entry), shape)
        if path[-1] == "kernel":
            fan_in = math.prod(shape[:-1])
            return noise / np.float32(math.sqrt(fan_in))
        if path[-1] in ("scale", "running_var"):
            return 1 + np.float32(0.1) * np.abs(noise)
        return np.float32(0.1) * noise

    shapes = flatten(abstract_params(config))
    leaves = {path: leaf(path, entry.shape) for path, entry in shapes.items()}
    return unflatten(leaves)


def prepared_params(config: ModelConfig, raw: Params | None = None) -> Params:
    """Returns ``raw`` (or random) weights ready for `step`, on the default device."""
    weights = random_params(config) if raw is None else raw
    prepared = jax.jit(prepare, static_argnums=1)(weights, config)
    return jax.block_until_ready(prepared)


def noise_frame(width: int, height: int, batch: int = 1, seed: int = 0) -> jax.Array:
    """Returns an LR frame [batch, height, width, 3] of uniform noise in [-1, 1]."""
    shape = (batch, height, width, 3)
    return jax.random.uniform(jax.random.key(seed), shape, jnp.float32, -1)


def num_bytes(tree: Any) -> int:
    """Returns the bytes of all arrays in a pytree."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
