"""Noise schedule, DDIM (v-prediction, eta 0, trailing spacing) and the denoising scan.

With a = sqrt(alpha_bar), s = sqrt(1 - alpha_bar) at timestep t (Song et al. 2021,
Salimans & Ho 2022):

    x0  = a x - s v          (1) clean estimate
    eps = a v + s x          (2) noise estimate
    x'  = a' x0 + s' eps     (3) next sample

with a', s' at t - num_train_timesteps // num_steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax.config import DiffusionConfig
from sdvsr_jax.types import Array, Float, PyTree


class StepCoefficients(NamedTuple):
    """a, s of the current and of the next noise level, each float32 [num_steps]."""

    alpha: Float[Array, " n"]
    sigma: Float[Array, " n"]
    next_alpha: Float[Array, " n"]
    next_sigma: Float[Array, " n"]


def alphas_cumprod(config: DiffusionConfig) -> np.ndarray:
    """alpha_bar [num_train_timesteps] of the 'scaled_linear' schedule, float32."""
    first = config.beta_start**0.5
    last = config.beta_end**0.5
    # linear in the root of beta, which is what 'scaled' means
    roots = np.linspace(first, last, config.num_train_timesteps)
    alphas = 1.0 - roots**2
    products = np.cumprod(alphas)
    return products.astype(np.float32)


def timesteps(config: DiffusionConfig) -> np.ndarray:
    """Trailing spacing: 4 steps of 1000 are 999, 749, 499, 249."""
    total = config.num_train_timesteps
    steps = config.num_steps
    if not 1 <= steps <= total:
        raise ValueError(f"num_steps is {steps}, expected 1 to {total}")
    # downwards from the end, so that the first step starts from pure noise
    stride = total / steps
    spaced = np.arange(total, 0, -stride)
    rounded = np.round(spaced)
    return rounded.astype(np.int32) - 1


def step_coefficients(config: DiffusionConfig) -> StepCoefficients:
    """Coefficients of (1)-(3) for every sampling step; after the last one alpha_bar[0]
    (or 1) is reached.
    """
    # rounded to float32 first, as the published scheduler holds it
    alpha_bar = alphas_cumprod(config).astype(np.float64)
    now = timesteps(config)
    gap = config.num_train_timesteps // config.num_steps
    previous = now - gap
    # the published scheduler ends at alpha_bar[0], with a rest of noise
    final = 1.0 if config.set_alpha_to_one else alpha_bar[0]
    now_bar = alpha_bar[now]
    next_bar = np.where(previous >= 0, alpha_bar[previous], final)
    return StepCoefficients(
        alpha=_root(now_bar),
        sigma=_root(1 - now_bar),
        next_alpha=_root(next_bar),
        next_sigma=_root(1 - next_bar),
    )


def _root(variance: np.ndarray) -> Array:
    return jnp.asarray(variance**0.5, jnp.float32)


def ddim_update(
    x: Float[Array, "*shape"], v: Float[Array, "*shape"], c: StepCoefficients
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Equations (1)-(3) for one step: (next sample, clean estimate)."""
    x0 = c.alpha * x - c.sigma * v
    eps = c.alpha * v + c.sigma * x
    next_x = c.next_alpha * x0 + c.next_sigma * eps
    return next_x, x0


def denoise(
    predict_v: Callable[[Array, PyTree], Array],
    noise: Float[Array, "b h w c"],
    per_step: PyTree,
    config: DiffusionConfig,
    *,
    unroll: bool = False,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    """Runs all sampling steps: (last sample, last clean estimate), float32.

    ``per_step`` is a pytree with leading axis num_steps whose slice is handed to
    ``predict_v(x, slice)``.
    """

    def body(
        carry: tuple[Array, Array], xs: tuple[StepCoefficients, PyTree]
    ) -> tuple[tuple[Array, Array], None]:
        coefficients, conditioning = xs
        x, _ = carry
        v = predict_v(x, conditioning)
        # latents and DDIM stay in float32, whatever the networks compute in
        v = v.astype(jnp.float32)
        return ddim_update(x, v, coefficients), None

    start = noise.astype(jnp.float32)
    xs = step_coefficients(config), per_step
    (sample, x0), _ = jax.lax.scan(body, (start, start), xs, unroll=unroll)
    return sample, x0
