"""The adversarial part of a step: what the critic sees, its gradient, and the
generator's combined gradient.
"""

import fnmatch
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from configs import GANConfig
from sdvsr_jax.types import Array, PyTree, SRFrame
from train import losses
from train.discriminator import make_critic
from train.objectives import Result, shifted
from train.selection import Flat

Loss = Callable[[Flat], tuple[Array, Result]]
"""The loss as a function of the trained parameters, and its result."""


def critic_input(image: SRFrame, up: SRFrame, settings: GANConfig) -> Array:
    """The critic's input: the clipped image (in [0, 1] if 'mixed' and conditional) and
    the bicubic frame.
    """
    if settings.value_range == "mixed":
        image = (jnp.clip(image, -1, 1) + 1) / 2 if settings.conditional else image
    else:
        image = jnp.clip(image, -1, 1)
    return jnp.concatenate([image, up], -1) if settings.conditional else image


def generator_gradient(
    loss: Loss,
    trained: Flat,
    critic: PyTree,
    weight: Array,
    settings: GANConfig,
    key: Array,
) -> tuple[Flat, Result, dict[str, Array]]:
    """g_rec + w g_adv with w = weight * |g_rec at W| / |g_adv at W|: one forward pass,
    two pullbacks. Without the adaptive ratio w = weight, in one pullback.
    """
    judge = functools.partial(
        adversarial_terms, loss=loss, critic=critic, settings=settings, key=key
    )
    if not settings.adaptive:
        total_loss = functools.partial(weighted_sum, judge=judge, weight=weight)
        (_, (adv, result)), total = jax.value_and_grad(total_loss, has_aux=True)(
            trained
        )
        return total, result, {"adversarial": adv, "adversarial_weight": weight}
    (rec, adv), pull, result = jax.vjp(judge, trained, has_aux=True)
    one, zero = jnp.ones_like(rec), jnp.zeros_like(rec)
    (g_rec,), (g_adv,) = pull((one, zero)), pull((zero, one))
    patterns = settings.ratio_at or ("*",)
    at = [
        path for path in trained if any(fnmatch.fnmatchcase(path, p) for p in patterns)
    ]
    if not at:
        raise ValueError(f"gan.ratio_at={patterns} matches no trained parameter")
    w = weight * losses.adaptive_weight([g_rec[p] for p in at], [g_adv[p] for p in at])
    total = jax.tree.map(lambda a, b: a + w * b, g_rec, g_adv)
    return total, result, {"adversarial": adv, "adversarial_weight": w}


def adversarial_terms(
    trained: Flat, *, loss: Loss, critic: PyTree, settings: GANConfig, key: Array
) -> tuple[tuple[Array, Array], Result]:
    """(loss, adversarial term), and the result that they are of."""
    rec, result = loss(trained)
    image = critic_input(result.sr, result.up, settings)
    image, hr = cropped(key, (image, result.hr), settings)
    logits = jnp.asarray(make_critic(settings).apply(critic, image))
    importance = texture(hr) if settings.texture else None
    return (rec, losses.generator_adversarial(logits, importance)), result


def weighted_sum(
    trained: Flat, *, judge: Callable, weight: Array
) -> tuple[Array, tuple[Array, Result]]:
    """Loss plus weighted adversarial term; the term and the result beside it."""
    (rec, adv), result = judge(trained)
    return rec + weight * adv, (adv, result)


def cropped(
    key: Array, images: tuple[Array, ...], settings: GANConfig
) -> tuple[Array, ...]:
    """The same crop of every image, beginning at a random pixel."""
    if not settings.crop:
        return images
    return shifted(key, images, images[0].shape[1] - settings.crop)


def texture(hr: SRFrame) -> Array:
    """[b,H,W,1] in [0, 1): near 1 where the truth has gradients, 0 where it is flat."""
    down = jnp.abs(jnp.diff(hr, axis=1, append=hr[:, -1:])).mean(-1, keepdims=True)
    right = jnp.abs(jnp.diff(hr, axis=2, append=hr[:, :, -1:])).mean(-1, keepdims=True)
    # over 5x5 pixels, so that the space between two lines of a texture counts as well
    strength = jax.lax.reduce_window(
        down + right, 0.0, jax.lax.add, (1, 5, 5, 1), (1, 1, 1, 1), "same"
    )
    strength = strength / 25
    # half of the weight at a mean step of six levels of 255
    return jax.lax.stop_gradient(strength / (strength + 0.05))


def critic_gradient(
    key: Array, critic: PyTree, result: Result, settings: GANConfig
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """(gradient, new batch statistics, metrics) of the critic; the generated image is a
    constant.
    """
    net = make_critic(settings)
    real_key, fake_key = jax.random.split(key)
    images = jax.lax.stop_gradient((result.sr, result.up, result.hr))
    crop_key = jax.random.fold_in(key, 1)
    fake, up, hr = cropped(crop_key, images, settings)
    real = hr + 0.05 * jax.random.normal(real_key, fake.shape) * (
        2 if settings.value_range == "mixed" else 1
    )
    if settings.value_range == "pm1":
        fake = fake + 0.05 * jax.random.normal(fake_key, fake.shape)

    def loss(params: PyTree) -> tuple[Array, PyTree]:
        variables, mutable = (
            critic | {"params": params},
            [k for k in critic if k != "params"],
        )
        real_logits, stats = net.apply(
            variables, critic_input(real, up, settings), train=True, mutable=mutable
        )
        fake_logits, stats = net.apply(
            variables | stats,
            critic_input(fake, up, settings),
            train=True,
            mutable=mutable,
        )
        return losses.discriminator(real_logits, fake_logits), stats

    (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(critic["params"])
    return gradient, stats, {"critic": value}
