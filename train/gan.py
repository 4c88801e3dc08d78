"""The adversarial part of a step: the critic's input and gradient, and the generator's
combined gradient.
"""

import fnmatch
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from configs import GANConfig
from sdvsr_jax.types import Array, Mask, PyTree, SRFrame
from train import losses
from train.discriminator import make_critic
from train.frames import RandomKey, Scalar
from train.objectives import Crop, Result, shifted
from train.selection import Flat

Loss = Callable[[Flat], tuple[Array, Result]]
"""The loss as a function of the trained parameters, and its result."""


def critic_input(image: SRFrame, up: SRFrame, settings: GANConfig) -> Array:
    """The critic's input: the clipped image (in [0, 1] if 'mixed' and conditional) and
    the bicubic frame.
    """
    clipped = jnp.clip(image, -1, 1)
    if settings.value_range == "pm1":
        image = clipped
    elif settings.conditional:
        # the released code: [0, 1] beside a condition in [-1, 1]
        image = (clipped + 1) / 2
    if not settings.conditional:
        return image
    return jnp.concatenate([image, up], -1)


def generator_gradient(
    loss: Loss,
    trained: Flat,
    critic: PyTree,
    weight: Scalar,
    settings: GANConfig,
    key: RandomKey,
) -> tuple[Flat, Result, dict[str, Array]]:
    """g_rec + w g_adv with w = weight * |g_rec at W| / |g_adv at W|: one forward pass,
    two pullbacks. Without the adaptive ratio w = weight, in one pullback.
    """
    judge = functools.partial(
        adversarial_terms,
        loss=loss,
        critic=critic,
        settings=settings,
        key=key,
    )
    if not settings.adaptive:
        total_loss = functools.partial(weighted_sum, judge=judge, weight=weight)
        value_and_gradient = jax.value_and_grad(total_loss, has_aux=True)
        (_, (adv, result)), total = value_and_gradient(trained)
        metrics = {"adversarial": adv, "adversarial_weight": weight}
        return total, result, metrics
    terms, pull, result = jax.vjp(judge, trained, has_aux=True)
    rec, adv = terms
    one = jnp.ones_like(rec)
    zero = jnp.zeros_like(rec)
    (g_rec,) = pull((one, zero))
    (g_adv,) = pull((zero, one))
    paths = ratio_paths(trained, settings)
    of_rec = [g_rec[path] for path in paths]
    of_adv = [g_adv[path] for path in paths]
    ratio = losses.adaptive_weight(of_rec, of_adv)
    w = weight * ratio

    def add_weighted(rec: Array, adv: Array) -> Array:
        return rec + w * adv

    total = jax.tree.map(add_weighted, g_rec, g_adv)
    metrics = {"adversarial": adv, "adversarial_weight": w}
    return total, result, metrics


def ratio_paths(trained: Flat, settings: GANConfig) -> list[str]:
    """Returns the parameters at which the adaptive ratio is measured; none is a
    ValueError.
    """
    patterns = settings.ratio_at or ("*",)
    paths = []
    for path in trained:
        matches = [fnmatch.fnmatchcase(path, pattern) for pattern in patterns]
        if any(matches):
            paths.append(path)
    if not paths:
        raise ValueError(f"gan.ratio_at={patterns} matches no trained parameter")
    return paths


def adversarial_terms(
    trained: Flat, *, loss: Loss, critic: PyTree, settings: GANConfig, key: RandomKey
) -> tuple[tuple[Array, Array], Result]:
    """(loss, adversarial term), and the result that they are of."""
    rec, result = loss(trained)
    image = critic_input(result.sr, result.up, settings)
    image, hr = cropped(key, (image, result.hr), settings)
    net = make_critic(settings)
    # without `train`: the statistics of batches stay as they are
    logits = jnp.asarray(net.apply(critic, image))
    importance = texture(hr) if settings.texture else None
    adv = losses.generator_adversarial(logits, importance)
    return (rec, adv), result


def weighted_sum(
    trained: Flat, *, judge: Callable, weight: Scalar
) -> tuple[Array, tuple[Array, Result]]:
    """Loss plus weighted adversarial term; the term and the result beside it."""
    (rec, adv), result = judge(trained)
    total = rec + weight * adv
    return total, (adv, result)


def cropped(
    key: RandomKey, images: tuple[Crop, ...], settings: GANConfig
) -> tuple[Array, ...]:
    """The same crop of every image, beginning at a random pixel."""
    if not settings.crop:
        return images
    # crops are square, and so are the windows
    _, side, *_ = images[0].shape
    return shifted(key, images, side - settings.crop)


def texture(hr: SRFrame) -> Mask:
    """[b,H,W,1] in [0, 1): near 1 where the truth has gradients, 0 where it is flat."""
    last_row = hr[:, -1:]
    last_column = hr[:, :, -1:]
    # the last ones have no neighbour: no step
    down = jnp.diff(hr, axis=1, append=last_row)
    right = jnp.diff(hr, axis=2, append=last_column)
    steps_down = jnp.abs(down)
    steps_right = jnp.abs(right)
    of_all_channels = functools.partial(jnp.mean, axis=-1, keepdims=True)
    steps = of_all_channels(steps_down) + of_all_channels(steps_right)
    window = (1, 5, 5, 1)
    strides = (1, 1, 1, 1)
    # over 5x5 pixels, so that the space between two lines of a texture counts as well
    total = jax.lax.reduce_window(steps, 0.0, jax.lax.add, window, strides, "same")
    strength = total / 25
    # half of the weight at a mean step of six levels of 255
    importance = strength / (strength + 0.05)
    return stop_gradient(importance)


def critic_gradient(
    key: RandomKey, critic: PyTree, result: Result, settings: GANConfig
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """(gradient, new batch statistics, metrics) of the critic; the generated image is a
    constant.
    """
    net = make_critic(settings)
    real_key, fake_key = jax.random.split(key)
    images = stop_gradient((result.sr, result.up, result.hr))
    crop_key = jax.random.fold_in(key, 1)
    fake, up, hr = cropped(crop_key, images, settings)
    noise = 0.05 * jax.random.normal(real_key, fake.shape)
    # 5 % of the range of either form: noise keeps the critic from winning at once
    strength = 2 if settings.value_range == "mixed" else 1
    real = hr + noise * strength
    if settings.value_range == "pm1":
        # the released code disturbs the real image alone
        fake_noise = 0.05 * jax.random.normal(fake_key, fake.shape)
        fake = fake + fake_noise
    real_input = critic_input(real, up, settings)
    fake_input = critic_input(fake, up, settings)
    mutable = [name for name in critic if name != "params"]
    judge = functools.partial(net.apply, train=True, mutable=mutable)

    def loss(params: PyTree) -> tuple[Array, PyTree]:
        variables = critic | {"params": params}
        real_logits, stats = judge(variables, real_input)
        fake_logits, stats = judge(variables | stats, fake_input)
        value = losses.discriminator(real_logits, fake_logits)
        return value, stats

    value_and_gradient = jax.value_and_grad(loss, has_aux=True)
    (value, stats), gradient = value_and_gradient(critic["params"])
    return gradient, stats, {"critic": value}
