"""The adversarial part of a step: what the critic sees, its gradient, and the
generator's combined gradient.
"""

import fnmatch
from collections.abc import Callable

import jax
import jax.numpy as jnp

from configs import GANConfig
from sdvsr_jax.types import Array, PyTree, SRFrame
from train import losses
from train.discriminator import PatchGAN
from train.objectives import Result
from train.selection import Flat


def shown(image: SRFrame, up: SRFrame, settings: GANConfig) -> Array:
    """The critic's input: the clipped image (in [0, 1] if 'mixed' and conditional) and
    the bicubic frame.
    """
    if settings.value_range == "mixed":
        image = (jnp.clip(image, -1, 1) + 1) / 2 if settings.conditional else image
    else:
        image = jnp.clip(image, -1, 1)
    return jnp.concatenate([image, up], -1) if settings.conditional else image


def generator_gradient(
    objective: Callable[[Flat], Result],
    trained: Flat,
    critic: PyTree,
    weight: Array,
    settings: GANConfig,
) -> tuple[Flat, Result, dict[str, Array]]:
    """g_rec + w g_adv with w = weight * |g_rec at W| / |g_adv at W|: one forward pass,
    two pullbacks.
    """
    net = PatchGAN(settings.norm)

    def both(trained: Flat) -> tuple[tuple[Array, Array], Result]:
        result = objective(trained)
        logits = jnp.asarray(net.apply(critic, shown(result.sr, result.up, settings)))
        return (result.loss, losses.generator_adversarial(logits)), result

    (rec, adv), pull, result = jax.vjp(both, trained, has_aux=True)
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


def critic_gradient(
    key: Array, critic: PyTree, result: Result, settings: GANConfig
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """(gradient, new batch statistics, metrics) of the critic; the generated image is a
    constant.
    """
    net = PatchGAN(settings.norm)
    real_key, fake_key = jax.random.split(key)
    fake, up = jax.lax.stop_gradient((result.sr, result.up))
    real = result.hr + 0.05 * jax.random.normal(real_key, fake.shape) * (
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
            variables, shown(real, up, settings), train=True, mutable=mutable
        )
        fake_logits, stats = net.apply(
            variables | stats, shown(fake, up, settings), train=True, mutable=mutable
        )
        return losses.discriminator(real_logits, fake_logits), stats

    (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(critic["params"])
    return gradient, stats, {"critic": value}
