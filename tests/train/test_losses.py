"""Formulas against independent numbers, and facts of the released training code
(learning rate, critic sizes).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from configs import OptimizerConfig
from sdvsr_jax.config import DiffusionConfig
from sdvsr_jax.diffusion import ddim_update, step_coefficients
from train import losses
from train.discriminator import PatchGAN
from train.state import average, learning_rate


def normal(seed: int, *shape: int):
    return jax.random.normal(jax.random.key(seed), shape)


def last_step():
    """A chain of 4 arbitrary predictions: (last x, last v, sample, x0, z, n, a, s)."""
    config = DiffusionConfig()
    z, noise = normal(0, 2, 4, 4, 4), normal(1, 2, 4, 4, 4)
    c = step_coefficients(config)
    x = noise
    for k in range(4):
        one = jax.tree.map(lambda value: value[k], c)  # noqa: B023
        v, before = normal(10 + k, 2, 4, 4, 4), x
        x, x0 = ddim_update(x, v, one)
    return config, before, v, x, x0, z, noise, c.alpha[-1], c.sigma[-1]


def test_latent_v_recovers_the_network_output():
    config, _, v, sample, x0, z, noise, a, s = last_step()
    expected = np.mean((v - (a * noise - s * z)) ** 2)
    np.testing.assert_allclose(
        losses.latent_v(sample, x0, z, noise, config), expected, rtol=1e-4
    )


def test_v_form_asks_for_a_shifted_latent():
    """L = mean (x0 - z - a d)^2 / s^2 with d = x - (a z + s n): the identity of
    training.md A11.
    """
    config, x, _, sample, x0, z, noise, a, s = last_step()
    d = x - (a * z + s * noise)
    expected = np.mean((x0 - z - a * d) ** 2) / s**2
    np.testing.assert_allclose(
        losses.latent_v(sample, x0, z, noise, config), expected, rtol=1e-4
    )
    assert float(1 / s**2) == pytest.approx(5.60, abs=0.01)


def test_v_form_needs_a_noisy_last_sample():
    with pytest.raises(ValueError, match="set_alpha_to_one=False"):
        losses.latent_v(
            *(jnp.zeros((1, 2, 2, 4)),) * 4, DiffusionConfig(set_alpha_to_one=True)
        )


def test_noise_levels_of_the_four_steps():
    c = step_coefficients(DiffusionConfig())
    np.testing.assert_allclose(
        c.alpha, [0.027082, 0.196483, 0.577224, 0.906378], atol=2e-6
    )
    np.testing.assert_allclose(
        c.sigma, [0.999633, 0.980507, 0.816586, 0.422467], atol=2e-6
    )
    np.testing.assert_allclose(
        [c.next_alpha[-1], c.next_sigma[-1]], [0.999950, 0.010000], atol=2e-6
    )


def test_pixel_losses():
    x, y = jnp.array([0.0, 0.05, 0.3, -1.0]), jnp.zeros(4)
    np.testing.assert_allclose(
        losses.smooth_l1(x, y, 0.1), np.mean([0, 0.0125, 0.25, 0.95]), rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.charbonnier(x, y), np.mean(np.sqrt(np.square(x) + 1e-6)), rtol=1e-6
    )


def test_moments_vanish_for_standard_latents():
    z = normal(0, 64, 16, 16, 3)
    assert losses.moments(z) < 1e-4
    assert losses.moments(2 * z + 1) == pytest.approx(2, rel=0.05)


def test_temporal_residual_ignores_true_change_and_blur():
    hr, prev_hr = normal(0, 1, 8, 8, 3), normal(1, 1, 8, 8, 3)
    flow, mask = jnp.zeros((1, 8, 8, 2)), jnp.ones((1, 8, 8, 1))
    same_error = losses.temporal_residual(
        hr + 0.3, prev_hr + 0.3, hr, prev_hr, flow, mask
    )
    flicker = losses.temporal_residual(hr + 0.3, prev_hr - 0.3, hr, prev_hr, flow, mask)
    assert same_error == pytest.approx(1e-3, rel=1e-3)  # rho(0) = epsilon
    assert flicker == pytest.approx(0.6, rel=1e-3)
    assert losses.temporal_residual(hr, prev_hr, hr, prev_hr, flow, 0 * mask) == 0


def test_temporal_residual_does_not_move_the_previous_output():
    hr, flow, mask = (
        normal(0, 1, 8, 8, 3),
        jnp.zeros((1, 8, 8, 2)),
        jnp.ones((1, 8, 8, 1)),
    )
    gradient = jax.grad(
        lambda prev: losses.temporal_residual(hr, prev, hr, hr, flow, mask)
    )(normal(1, 1, 8, 8, 3))
    assert not gradient.any()


def test_occlusion_mask():
    flow = jnp.zeros((1, 12, 12, 2)).at[..., 0].set(3.0)
    consistent = losses.occlusion_mask(flow, -flow)[0, :, :, 0]
    assert consistent[:, :8].all()
    assert not consistent[:, 10:].any()  # leaves the picture
    assert not losses.occlusion_mask(flow, flow).any()
    assert not losses.occlusion_mask(flow.at[:, :, 5:].set(0.0), 0 * flow)[
        0, :, 4
    ].any()  # motion border


def test_photometric_is_least_at_the_true_flow():
    wide = jax.image.resize(normal(0, 1, 6, 8, 3), (1, 24, 32, 3), "cubic")
    now, before = (
        wide[:, :, :24],
        wide[:, :, 2:26],
    )  # the content of `now` at x is in `before` at x - 2
    values = {}
    for shift in (-3, -2, -1, 0, 2):
        values[shift] = float(
            losses.photometric(
                now, before, jnp.zeros((1, 24, 24, 2)).at[..., 0].set(shift)
            )
        )
    assert min(values, key=values.__getitem__) == -2


def test_smoothness_counts_steps_where_the_picture_is_flat():
    flow = jnp.zeros((1, 8, 8, 2)).at[:, :, 4:].set(1.0)
    flat = losses.flow_smoothness(flow, jnp.zeros((1, 8, 8, 3)))
    edge = losses.flow_smoothness(flow, jnp.zeros((1, 8, 8, 3)).at[:, :, 4:].set(1.0))
    assert flat > 5 * edge


def test_adversarial_losses_at_indifference():
    zero = jnp.zeros((2, 3, 3, 1))
    assert losses.generator_adversarial(zero) == pytest.approx(np.log(2))
    assert losses.discriminator(zero, zero) == pytest.approx(2 * np.log(2))


def test_adaptive_weight():
    rec, adv = [jnp.array([3.0, 4.0])], [jnp.array([0.5])]
    assert losses.adaptive_weight(rec, adv) == pytest.approx(5 / (0.5 + 1e-4))
    assert losses.adaptive_weight(rec, [jnp.zeros(1)]) == pytest.approx(1e4)


@pytest.mark.parametrize(("channels", "count"), [(6, 2_768_705), (3, 2_765_633)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_critic_sizes(channels, count, norm):
    net = PatchGAN(norm)
    shapes = jax.eval_shape(
        lambda x: net.init(jax.random.key(0), x), jnp.zeros((1, 256, 256, channels))
    )
    assert (
        sum(
            np.prod(s.shape)
            for s in traverse_util.flatten_dict(shapes["params"]).values()
        )
        == count
    )
    for side, logits in ((256, 30), (512, 62)):
        output = jax.eval_shape(net.apply, shapes, jnp.zeros((2, side, side, channels)))
        assert output.shape == (2, logits, logits, 1)


def test_learning_rate():
    constant = learning_rate(OptimizerConfig(learning_rate=5e-5, warmup=1000), 10_000)
    assert [float(constant(k)) for k in (0, 500, 1000, 9999)] == pytest.approx(
        [0, 2.5e-5, 5e-5, 5e-5]
    )
    cosine = learning_rate(
        OptimizerConfig(learning_rate=1.0, warmup=1, decay="cosine"), 1000
    )
    assert [float(cosine(k)) for k in (800, 900, 1000)] == pytest.approx(
        [1, 0.5, 0], abs=1e-6
    )


def test_average_warms_up():
    ema = average({"a": jnp.zeros(1)}, {"a": jnp.ones(1)}, jnp.asarray(0), 0.999)
    assert float(ema["a"][0]) == pytest.approx(0.9)  # d = 1/10 at step 0
    late = average({"a": jnp.zeros(1)}, {"a": jnp.ones(1)}, jnp.asarray(10**6), 0.999)
    assert float(late["a"][0]) == pytest.approx(1e-3, rel=1e-3)
