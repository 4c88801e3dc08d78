"""Random weights of full size and frames of noise.

They cost as much as trained weights and real frames, and need no download.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks.report import Size
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import abstract_params
from sdvsr_jax.prepare import prepare
from sdvsr_jax.types import Params, Prepared

# Random numbers that all weights share: drawing 700 million takes longer than a frame.
POOL = 2**20


def random_params(config: ModelConfig) -> Params:
    """Returns raw float32 weights (numpy), scaled so that activations stay moderate."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal(POOL)
    shapes: Any = flatten_dict(abstract_params(config))
    leaves = {}
    for path, array in shapes.items():
        # Every leaf enters the pool at a place of its own, or all would be alike.
        entry = rng.integers(POOL)
        shifted = np.roll(pool, entry)
        noise = np.resize(shifted, array.shape)
        *_, name = path
        leaf = scaled(name, noise)
        leaves[path] = leaf.astype(np.float32)
    return unflatten_dict(leaves)


def scaled(name: str, noise: np.ndarray) -> np.ndarray:
    """Returns unit noise as a parameter of this name."""
    # Kernels keep the variance of their input; a scale of norms must not be negative.
    if name == "kernel":
        fan_in = math.prod(noise.shape[:-1])
        return noise / math.sqrt(fan_in)
    if name in ("scale", "running_var"):
        return 1 + 0.1 * np.abs(noise)
    return 0.1 * noise


def prepared_params(config: ModelConfig, raw: Params | None = None) -> Prepared:
    """Returns ``raw`` (or random) weights ready for `step`, on the default device."""
    weights = random_params(config) if raw is None else raw
    return jax.block_until_ready(prepare(weights, config))


def noise_frame(lr: Size, batch: int = 1, seed: int = 0) -> jax.Array:
    """Returns LR frames [batch, height, width, 3] of uniform noise in [-1, 1]."""
    shape = (batch, lr.height, lr.width, 3)
    key = jax.random.key(seed)
    return jax.random.uniform(key, shape, jnp.float32, -1)
