"""The adversarial part of a step on a toy loss: crops, inputs of the critic, weights of
the two gradients.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import GANConfig
from train.gan import (
    critic_gradient,
    critic_input,
    cropped,
    generator_gradient,
    ratio_paths,
    texture,
)
from train.objectives import Result

SIDE = 16
KEY = jax.random.key(5)
SMALL = GANConfig(weight=0.5, net="unet")


def noise(seed: int, channels: int = 3) -> jax.Array:
    shape = (2, SIDE, SIDE, channels)
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1)


def toy_loss(trained: dict) -> tuple[jax.Array, Result]:
    """A picture that is a scaled one, against another."""
    sr = trained["gain"] * noise(0)
    loss = jnp.mean((sr - noise(1)) ** 2)
    return loss, Result(loss, {}, sr, noise(1), noise(2))


@functools.cache
def critic(channels: int = 6) -> dict:
    from train.discriminator import make_critic

    return make_critic(SMALL).init(jax.random.key(1), noise(0, channels))


def gradient_of(gan: GANConfig) -> tuple[float, dict]:
    weight = jnp.float32(gan.weight)
    variables = critic(6 if gan.conditional else 3)

    @jax.jit
    def run(trained: dict) -> tuple:
        return generator_gradient(toy_loss, trained, variables, weight, gan, KEY)

    total, _, metrics = run({"gain": jnp.float32(0.7)})
    return float(total["gain"]), metrics


# every side is a compilation: more than the twelve sides would be seeds only
@settings(max_examples=20, deadline=None)
@given(st.integers(4, SIDE - 1), st.integers(0, 1000))
def test_images_of_any_channels_are_cropped_at_the_same_place(side: int, seed: int):
    places = jnp.arange(SIDE, dtype=jnp.float32)
    rows, columns = jnp.meshgrid(places, places, indexing="ij")
    positions = jnp.stack([rows, columns, rows + columns], -1)[None]
    doubled = jnp.concatenate([positions, positions], -1)
    gan = GANConfig(crop=side)
    pair, single = cropped(jax.random.key(seed), (doubled, positions), gan)
    assert pair.shape == (1, side, side, 6)
    np.testing.assert_array_equal(pair[..., :3], single)
    steps = np.diff(single[0, :, :, 0], axis=0)
    np.testing.assert_array_equal(steps, 1)


def test_without_a_crop_everything_is_seen() -> None:
    images = (noise(0), noise(1))
    assert cropped(KEY, images, GANConfig()) is images


@pytest.mark.parametrize("conditional", [True, False])
def test_the_critic_sees_what_is_shown(conditional: bool) -> None:
    gan = GANConfig(conditional=conditional)
    # half of the values are beyond the range
    picture = 2 * noise(0)
    condition = noise(1)
    inputs = critic_input(picture, condition, gan)
    expected = jnp.clip(picture, -1, 1)
    if conditional:
        expected = jnp.concatenate([expected, condition], -1)
    np.testing.assert_array_equal(inputs, expected)


def test_the_released_form_has_two_ranges() -> None:
    gan = GANConfig(value_range="mixed")
    inputs = critic_input(2 * noise(0), noise(1), gan)
    picture = np.asarray(inputs[..., :3])
    assert picture.min() == 0
    assert picture.max() == 1
    unconditional = GANConfig(value_range="mixed", conditional=False)
    inputs = critic_input(noise(0), noise(1), unconditional)
    np.testing.assert_array_equal(inputs, noise(0))


def test_texture_is_where_the_truth_has_gradients() -> None:
    flat = np.full((1, SIDE, SIDE, 3), 0.3, np.float32)
    busy = flat.copy()
    middle = SIDE // 2
    busy[:, :, middle:] = noise(3)[:1, :, middle:]
    weights = np.asarray(texture(jnp.asarray(busy)))
    assert weights.min() >= 0
    assert weights.max() < 1
    # the filter reaches two pixels, and a difference one
    flat_half = weights[:, :, : middle - 3]
    assert not flat_half.any()
    # noise of the whole range has gradients far beyond those of a photograph
    busy_half = weights[:, :, middle + 3 :]
    assert busy_half.min() > 0.5
    nothing = texture(jnp.asarray(flat))
    assert not np.asarray(nothing).any()


def test_the_ratio_is_measured_at_named_parameters() -> None:
    trained = {"vae/a": 0, "vae/b": 0, "unet/a": 0}
    gan = GANConfig(ratio_at=("vae/*",))
    assert ratio_paths(trained, gan) == ["vae/a", "vae/b"]
    assert ratio_paths(trained, GANConfig()) == list(trained)
    frozen = GANConfig(ratio_at=("flow/*",))
    with pytest.raises(ValueError, match="matches no trained parameter"):
        ratio_paths(trained, frozen)


def test_a_weight_without_ratio_is_a_weighted_sum() -> None:
    """The gradient is linear in the weight."""
    values = []
    for weight in (0.0, 0.5, 1.0):
        gan = GANConfig(weight=weight, net="unet", adaptive=False)
        value, metrics = gradient_of(gan)
        assert metrics["adversarial_weight"] == weight
        values.append(value)
    none, half, full = values
    assert none != full
    # float32 sums of a thousand pixels
    assert half == pytest.approx((none + full) / 2, rel=1e-4)
    gradient, _ = jax.grad(toy_loss, has_aux=True)({"gain": jnp.float32(0.7)})
    of_loss = float(gradient["gain"])
    assert none == pytest.approx(of_loss, rel=1e-4)


def test_the_adaptive_weight_makes_both_gradients_as_long() -> None:
    rec, _ = gradient_of(GANConfig(weight=0.0, net="unet", adaptive=False))
    both, metrics = gradient_of(GANConfig(weight=1.0, net="unet"))
    adversarial = both - rec
    # it has the length of the other part, but for the 1e-4 in the quotient, and a sign
    # of its own
    assert abs(adversarial) == pytest.approx(abs(rec), rel=1e-2)
    assert metrics["adversarial_weight"] > 0


def test_a_crop_goes_with_a_condition_and_with_texture() -> None:
    gan = GANConfig(weight=0.5, net="unet", crop=8, texture=True)
    value, metrics = gradient_of(gan)
    assert np.isfinite(value)
    assert np.isfinite(float(metrics["adversarial"]))


@pytest.mark.parametrize("gan", [SMALL, GANConfig(weight=1.0, net="unet", crop=8)])
def test_the_critic_learns_to_tell_the_two_apart(gan: GANConfig) -> None:
    _, result = toy_loss({"gain": jnp.float32(0.1)})

    @jax.jit
    def run(variables: dict) -> tuple:
        return critic_gradient(KEY, variables, result, gan)

    def descend(parameter: jax.Array, slope: jax.Array) -> jax.Array:
        # 0.01: so small that the loss falls in every step
        return parameter - 0.01 * slope

    params = critic()["params"]
    losses = []
    for _ in range(4):
        gradient, _, metrics = run({"params": params})
        losses.append(float(metrics["critic"]))
        params = jax.tree.map(descend, params, gradient)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
