"""One optimiser step of any stage, as a pure function: compiled once (twice if the GAN
acts every k-th step).
"""

import functools
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import optax

from sdvsr_jax.types import Array
from train import objectives
from train.frames import HRWindows, LRWindows, RandomKey, splice, to_video
from train.gan import critic_gradient, generator_gradient
from train.objectives import Context, Result
from train.rollout import Gradient, hops_loss, unroll, zeros_like_result
from train.selection import Flat, merge
from train.state import TrainState, average, critic_optimizer, make_optimizer

Metrics = dict[str, Array]
LossFunction = Callable[..., Result]
"""(params, ..., key, context) -> `Result`."""

OBJECTIVES: dict[str, LossFunction] = {
    "autoencode": objectives.autoencode,
    "denoise": objectives.denoise,
    "decode": objectives.decode,
    "flow": objectives.flow,
    "restore": objectives.restore,
}
"""By the name in `RunConfig.objective`; a rollout is unrolled over its frames."""


def train_step(
    state: TrainState,
    frozen: Flat,
    hr: HRWindows,
    lr: LRWindows | None,
    *,
    context: Context,
    with_gan: bool,
) -> tuple[TrainState, Metrics]:
    """uint8 batch -> new state and scalar metrics. All randomness comes from (seed,
    step).
    """
    run = context.run
    seed = jax.random.key(run.seed)
    # by its number, so that a run that goes on draws what it would have drawn
    key = jax.random.fold_in(seed, state.step)
    grads, result, metrics = accumulate(state, frozen, hr, lr, key, context, with_gan)
    update = make_optimizer(run).update
    updates, optimizer = update(grads, state.optimizer, state.trained)
    trained = cast(Flat, optax.apply_updates(state.trained, updates))
    metrics["gradient_norm"] = _length(grads)
    step = state.step + 1
    new = state._replace(step=step, trained=trained, optimizer=optimizer)
    decay = run.optimizer.ema
    if decay:
        ema = average(state.ema, trained, state.step, decay)
        new = new._replace(ema=ema)
    if with_gan:
        critic_key = jax.random.fold_in(key, 1)
        new, critic_metrics = _train_critic(new, result, critic_key, context)
        metrics |= critic_metrics
    return new, metrics


def _length(grads: Flat) -> Array:
    total = jnp.zeros(())
    for grad in grads.values():
        total += jnp.sum(grad**2)
    return jnp.sqrt(total)


def accumulate(
    state: TrainState,
    frozen: Flat,
    hr: HRWindows,
    lr: LRWindows | None,
    key: RandomKey,
    context: Context,
    with_gan: bool,
) -> tuple[Flat, Result, Metrics]:
    """Mean gradient over the parts of the batch, computed one after the other."""
    parts = context.run.optimizer.accumulation
    compute = functools.partial(
        batch_gradient,
        state,
        frozen,
        context=context,
        with_gan=with_gan,
    )
    if parts == 1:
        return compute(hr, lr, key)

    def split(x: Array) -> Array:
        # every device keeps its own rows: part k takes row k of each group
        rows, *sizes = x.shape
        groups = x.reshape(rows // parts, parts, *sizes)
        return jnp.swapaxes(groups, 0, 1)

    hr_parts, lr_parts = jax.tree.map(split, (hr, lr))
    keys = jax.random.split(key, parts)
    xs = (hr_parts, lr_parts, keys)
    first = jax.tree.map(lambda x: x[0], xs)
    zeros = zeros_like_result(compute, *first)

    def add(total: Array, part: Array) -> Array:
        return total + part / parts

    def body(total: Gradient, x: tuple) -> tuple[Gradient, None]:
        sum_grads, _, sum_metrics = total
        grads, result, metrics = compute(*x)
        grads = jax.tree.map(add, sum_grads, grads)
        metrics = jax.tree.map(add, sum_metrics, metrics)
        return (grads, result, metrics), None

    total, _ = jax.lax.scan(body, zeros, xs)
    return total


def batch_gradient(
    state: TrainState,
    frozen: Flat,
    hr: HRWindows,
    lr: LRWindows | None,
    key: RandomKey,
    *,
    context: Context,
    with_gan: bool,
) -> tuple[Flat, Result, Metrics]:
    """Gradient by the trained parameters, the last result and its metrics."""
    run = context.run
    cut_key, key = jax.random.split(key)
    video = to_video(hr, lr)
    video = splice(cut_key, video, run.rollout.cut)
    if run.objective == "rollout":
        grad_fn = functools.partial(gradient, hops_loss, with_gan=with_gan)
        return unroll(grad_fn, state, frozen, video, key, context)
    loss_fn = OBJECTIVES[run.objective]
    if run.objective == "decode":
        # one of its terms begins at a step of its own
        loss_fn = functools.partial(loss_fn, step=state.step)
    grads, result, metrics = gradient(
        loss_fn,
        state,
        frozen,
        (video, key),
        context,
        with_gan=with_gan,
    )
    # nothing is handed on from one batch to the next
    return grads, result._replace(carry=()), metrics


def gradient(
    loss_fn: LossFunction,
    state: TrainState,
    frozen: Flat,
    arguments: tuple,
    context: Context,
    *,
    with_gan: bool,
) -> tuple[Flat, Result, Metrics]:
    """Gradient of `loss_fn(params, *arguments, context)`, its result and metrics."""
    loss = functools.partial(
        loss_of,
        loss_fn=loss_fn,
        frozen=frozen,
        arguments=arguments,
        context=context,
    )
    metrics: Metrics = {}
    if with_gan:
        settings = context.run.loss.gan
        is_moving = state.step >= settings.start
        full_weight = settings.weight**settings.power
        weight = jnp.where(is_moving, full_weight, 0.0)
        # the last argument of every loss function is its key, or one for each hop
        *_, loss_key = arguments
        first_key = loss_key.reshape(-1)[0]
        key = jax.random.fold_in(first_key, 2)
        grads, result, metrics = generator_gradient(
            loss,
            state.trained,
            state.critic,
            weight,
            settings,
            key,
        )
    else:
        value_and_gradient = jax.value_and_grad(loss, has_aux=True)
        (_, result), grads = value_and_gradient(state.trained)
    metrics = {"loss": result.loss} | result.terms | metrics
    return grads, result, metrics


def loss_of(
    trained: Flat,
    *,
    loss_fn: LossFunction,
    frozen: Flat,
    arguments: tuple,
    context: Context,
) -> tuple[Array, Result]:
    """The loss as a function of the trained parameters alone, and its result."""
    params = merge(trained, frozen)
    result = loss_fn(params, *arguments, context)
    return result.loss, result


def _train_critic(
    state: TrainState, result: Result, key: RandomKey, context: Context
) -> tuple[TrainState, Metrics]:
    settings = context.run.loss.gan
    gradient, stats, metrics = critic_gradient(key, state.critic, result, settings)
    old = state.critic["params"]
    update = critic_optimizer(settings).update
    updates, optimizer = update(gradient, state.critic_optimizer, old)
    params = optax.apply_updates(old, updates)
    new = {**stats, "params": params}
    # a critic that always wins has nothing left to say to the generator
    learns = metrics["critic"] > settings.gate

    def if_learning(moved: Array, still: Array) -> Array:
        return jnp.where(learns, moved, still)

    critic = jax.tree.map(if_learning, new, state.critic)
    optimizer = jax.tree.map(if_learning, optimizer, state.critic_optimizer)
    return state._replace(critic=critic, critic_optimizer=optimizer), metrics
