"""Formulas against independent numbers, and facts of the released training code
(learning rate, critic sizes).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    z = normal(0, 2, 4, 4, 4)
    noise = normal(1, 2, 4, 4, 4)
    coefficients = step_coefficients(config)
    x = noise
    for k in range(4):
        one = jax.tree.map(lambda value: value[k], coefficients)  # noqa: B023
        v = normal(10 + k, 2, 4, 4, 4)
        before = x
        x, x0 = ddim_update(x, v, one)
    alpha = coefficients.alpha[-1]
    sigma = coefficients.sigma[-1]
    return config, before, v, x, x0, z, noise, alpha, sigma


def test_latent_v_recovers_the_network_output():
    config, _, v, sample, x0, z, noise, a, s = last_step()
    truth = a * noise - s * z
    expected = np.mean((v - truth) ** 2)
    loss = losses.latent_v(sample, x0, z, noise, config)
    # v comes back through a quotient by the last sigma, 0.01: roundings times a hundred
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_v_form_asks_for_a_shifted_latent():
    """L = mean (x0 - z - a d)^2 / s^2 with d = x - (a z + s n), the same in x0."""
    config, x, _, sample, x0, z, noise, a, s = last_step()
    d = x - (a * z + s * noise)
    expected = np.mean((x0 - z - a * d) ** 2) / s**2
    loss = losses.latent_v(sample, x0, z, noise, config)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    # of a sigma of 0.422467
    assert float(1 / s**2) == pytest.approx(5.60, abs=0.01)


def test_v_form_needs_a_noisy_last_sample():
    config = DiffusionConfig(set_alpha_to_one=True)
    latents = jnp.zeros((1, 2, 2, 4))
    with pytest.raises(ValueError, match="set_alpha_to_one=False"):
        losses.latent_v(latents, latents, latents, latents, config)


def test_noise_levels_of_the_four_steps():
    coefficients = step_coefficients(DiffusionConfig())
    last = [coefficients.next_alpha[-1], coefficients.next_sigma[-1]]
    # six decimals
    close = functools.partial(np.testing.assert_allclose, atol=2e-6)
    close(coefficients.alpha, [0.027082, 0.196483, 0.577224, 0.906378])
    close(coefficients.sigma, [0.999633, 0.980507, 0.816586, 0.422467])
    close(last, [0.999950, 0.010000])


def test_pixel_losses():
    x = jnp.array([0.0, 0.05, 0.3, -1.0])
    y = jnp.zeros(4)
    # half the square over beta below it, the distance less half of beta above
    huber = np.mean([0, 0.0125, 0.25, 0.95])
    np.testing.assert_allclose(losses.smooth_l1(x, y, 0.1), huber, rtol=1e-6)
    rho = np.sqrt(np.square(x) + 1e-6)
    np.testing.assert_allclose(losses.charbonnier(x, y), np.mean(rho), rtol=1e-6)


def test_moments_vanish_for_standard_latents():
    z = normal(0, 64, 16, 16, 3)
    # 16384 values of a channel know their mean and deviation to a hundredth, squared
    assert losses.moments(z) < 1e-4
    # a mean and a deviation that are each wrong by 1
    assert losses.moments(2 * z + 1) == pytest.approx(2, rel=0.05)


STILL = jnp.zeros((1, 8, 8, 2))
EVERYWHERE = jnp.ones((1, 8, 8, 1))


def test_temporal_residual_ignores_true_change_and_blur():
    hr = normal(0, 1, 8, 8, 3)
    prev_hr = normal(1, 1, 8, 8, 3)

    def residual(error: float, prev_error: float, mask=EVERYWHERE) -> float:
        sr = hr + error
        prev_sr = prev_hr + prev_error
        loss = losses.temporal_residual(sr, prev_sr, hr, prev_hr, STILL, mask)
        return float(loss)

    # rho(0) = epsilon
    assert residual(0.3, 0.3) == pytest.approx(1e-3, rel=1e-3)
    assert residual(0.3, -0.3) == pytest.approx(0.6, rel=1e-3)
    assert residual(0, 0, mask=0 * EVERYWHERE) == 0


def test_temporal_residual_does_not_move_the_previous_output():
    hr = normal(0, 1, 8, 8, 3)

    def residual(prev_sr):
        return losses.temporal_residual(hr, prev_sr, hr, hr, STILL, EVERYWHERE)

    prev_sr = normal(1, 1, 8, 8, 3)
    # the loss itself sees it
    assert residual(prev_sr) != residual(hr)
    assert not jax.grad(residual)(prev_sr).any()


def test_occlusion_mask():
    flow = jnp.zeros((1, 12, 12, 2)).at[..., 0].set(3.0)
    consistent = losses.occlusion_mask(flow, -flow)[0, :, :, 0]
    assert consistent[:, :8].all()
    # it leaves the picture
    assert not consistent[:, 10:].any()
    # the way back is the opposite one
    assert not losses.occlusion_mask(flow, flow).any()
    left_half = flow.at[:, :, 5:].set(0.0)
    at_rest = losses.occlusion_mask(left_half, 0 * flow)
    border_of_motion = at_rest[0, :, 4]
    assert not border_of_motion.any()


def test_photometric_is_least_at_the_true_flow():
    wide = jax.image.resize(normal(0, 1, 6, 8, 3), (1, 24, 32, 3), "cubic")
    # the content of `now` at x is in `before` at x - 2
    now = wide[:, :, :24]
    before = wide[:, :, 2:26]
    still = jnp.zeros((1, 24, 24, 2))
    values = {}
    for shift in (-3, -2, -1, 0, 2):
        flow = still.at[..., 0].set(shift)
        values[shift] = float(losses.photometric(now, before, flow))
    assert min(values, key=values.__getitem__) == -2


def test_smoothness_counts_steps_where_the_picture_is_flat():
    flow = STILL.at[:, :, 4:].set(1.0)
    grey = jnp.zeros((1, 8, 8, 3))
    with_edge = grey.at[:, :, 4:].set(1.0)
    flat = losses.flow_smoothness(flow, grey)
    edge = losses.flow_smoothness(flow, with_edge)
    assert flat > 5 * edge


def test_adversarial_losses_at_indifference():
    zero = jnp.zeros((2, 3, 3, 1))
    assert losses.generator_adversarial(zero) == pytest.approx(np.log(2))
    assert losses.discriminator(zero, zero) == pytest.approx(2 * np.log(2))


def test_adaptive_weight():
    # of length 5
    rec = [jnp.array([3.0, 4.0])]
    adv = [jnp.array([0.5])]
    assert losses.adaptive_weight(rec, adv) == pytest.approx(5 / (0.5 + 1e-4))
    nothing = [jnp.zeros(1)]
    # the limit of the released code
    assert losses.adaptive_weight(rec, nothing) == pytest.approx(1e4)


@pytest.mark.parametrize(("channels", "count"), [(6, 2_768_705), (3, 2_765_633)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_critic_sizes(channels, count, norm):
    net = PatchGAN(norm)
    images = jnp.zeros((1, 256, 256, channels))
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
    assert sum(sizes) == count
    for side, logits in ((256, 30), (512, 62)):
        images = jnp.zeros((2, side, side, channels))
        output = jax.eval_shape(net.apply, variables, images)
        assert output.shape == (2, logits, logits, 1)


def test_learning_rate():
    settings = OptimizerConfig(learning_rate=5e-5, warmup=1000)
    constant = learning_rate(settings, 10_000)
    rates = [float(constant(step)) for step in (0, 500, 1000, 9999)]
    assert rates == pytest.approx([0, 2.5e-5, 5e-5, 5e-5])
    settings = OptimizerConfig(learning_rate=1.0, warmup=1, decay="cosine")
    cosine = learning_rate(settings, 1000)
    rates = [float(cosine(step)) for step in (800, 900, 1000)]
    # float32's cosine of pi is -1 within a rounding or two
    assert rates == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_average_warms_up():
    def share_of_new(step: int) -> float:
        before = {"a": jnp.zeros(1)}
        now = {"a": jnp.ones(1)}
        ema = average(before, now, jnp.asarray(step), 0.999)
        return float(ema["a"][0])

    # d = 1/10 at step 0
    assert share_of_new(0) == pytest.approx(0.9)
    # 1 - 0.999 in float32 has four digits
    assert share_of_new(10**6) == pytest.approx(1e-3, rel=1e-3)
