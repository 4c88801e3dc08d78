"""The state of a run from step to step, and the optimisers that move it."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from configs import GANConfig, OptimizerConfig, RunConfig
from sdvsr_jax.types import Array, Int, PyTree
from train.discriminator import make_critic
from train.selection import Flat


class TrainState(NamedTuple):
    """Everything a checkpoint holds besides the data cursor; `critic` and its optimiser
    are empty without a GAN.
    """

    step: Int[Array, ""]
    trained: Flat
    ema: Flat
    optimizer: PyTree
    critic: PyTree
    critic_optimizer: PyTree


def learning_rate(settings: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear from 0 over the warm-up, then constant; 'cosine' falls to zero in the last
    fifth of the steps.
    """
    peak = settings.learning_rate
    rise = optax.linear_schedule(0.0, peak, max(settings.warmup, 1))
    if settings.decay == "constant":
        return rise
    tail = steps / 5
    first_of_tail = steps - tail
    # a part of a step is fine: the schedule divides by it
    decay_steps: Any = tail
    fall = optax.cosine_decay_schedule(1.0, decay_steps)

    def schedule(count: Any) -> Any:
        since = jnp.maximum(count - first_of_tail, 0)
        return rise(count) * fall(since)

    return schedule


def make_optimizer(run: RunConfig) -> optax.GradientTransformation:
    """Global-norm clip, then AdamW (0.9, 0.999, 1e-8) with decoupled decay on every
    trained tensor.
    """
    settings = run.optimizer
    rate = learning_rate(settings, run.steps)
    clip = optax.clip_by_global_norm(settings.clip)
    adamw = optax.adamw(rate, weight_decay=settings.weight_decay)
    return optax.chain(clip, adamw)


def critic_optimizer(settings: GANConfig) -> optax.GradientTransformation:
    """AdamW at a constant rate, without clipping."""
    return optax.adamw(settings.learning_rate, weight_decay=1e-2)


def init_train_state(run: RunConfig, trained: Flat) -> TrainState:
    """Step 0: the average equals the weights, a critic only if the run has a GAN."""
    settings = run.loss.gan
    critic = {}
    critic_state = ()
    if settings.weight:
        # the image, and the bicubic frame beside it
        channels = 6 if settings.conditional else 3
        # its parameters do not depend on the size
        image = jnp.zeros((1, 64, 64, channels))
        key = jax.random.key(run.seed + 1)
        critic = make_critic(settings).init(key, image)
        critic_state = critic_optimizer(settings).init(critic["params"])
    # copied, because both are donated to the step, and a buffer can be given once
    ema = jax.tree.map(jnp.copy, trained) if run.optimizer.ema else {}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trained=trained,
        ema=ema,
        optimizer=make_optimizer(run).init(trained),
        critic=critic,
        critic_optimizer=critic_state,
    )


def average(ema: Flat, trained: Flat, step: Int[Array, ""], decay: float) -> Flat:
    """d ema + (1 - d) trained with d = min(decay, (1 + k) / (10 + k))."""
    # a short memory at first, or the average would keep the start weights for long
    early = (1 + step) / (10 + step)
    d = jnp.minimum(decay, early).astype(jnp.float32)
    return cast(Flat, optax.incremental_update(trained, ema, 1 - d))
