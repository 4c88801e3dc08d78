"""One optimiser step: which parameters move, which do not, and that the unrolled
gradient is the one it should be.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import (
    DataConfig,
    GANConfig,
    LossConfig,
    OptimizerConfig,
    RolloutConfig,
    RunConfig,
)
from sdvsr_jax.metrics.lpips_weights import load_lpips
from sdvsr_jax.networks import init_params
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import init_state, rollout
from tests.train.conftest import moving_texture
from train.frames import splice, to_video
from train.objectives import Context
from train.rollout import (
    burn_in,
    corrupt,
    first_hop,
    hop_loss,
    hops_loss,
    unroll,
)
from train.selection import flatten, merge, select
from train.state import init_train_state
from train.step import accumulate, gradient, train_step

LATENT_ONLY = LossConfig(latent=1.0, pixel=1.0, perceptual=0.0)


@pytest.fixture(scope="module")
def params(tiny):
    """Moves zero-initialised layers off zero, so that gradients reach everything."""
    flat = flatten(jax.jit(init_params, static_argnums=1)(jax.random.key(0), tiny))
    rng = np.random.default_rng(0)
    noisy = {
        path: value + 0.02 * rng.standard_normal(value.shape, np.float32)
        for path, value in flat.items()
    }
    return merge(noisy, {})


@pytest.fixture(scope="module")
def batch():
    return np.stack([moving_texture(4, 64, 64, seed) for seed in range(2)])


def make(
    tiny, objective="rollout", trained=("unet/*",), loss=LATENT_ONLY, **kwargs
) -> Context:
    rollout_settings = kwargs.pop("rollout", RolloutConfig())
    run = RunConfig(
        objective,
        trained,
        data=DataConfig(crop=16, batch_size=2),
        loss=loss,
        rollout=rollout_settings,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=1),
        unroll=False,
        **kwargs,
    )
    return Context(run, tiny, load_lpips() if loss.perceptual else None)


@pytest.mark.parametrize(
    ("objective", "trained", "frames"),
    [
        ("autoencode", ("vae/encoder/*", "vae/decoder/*"), 1),
        ("denoise", ("unet/*",), 1),
        ("decode", ("vae/decoder/*temporal_processor*",), 2),
        ("flow", ("flow/*",), 2),
    ],
)
def test_a_stage_moves_its_parameters_and_no_other_bit(
    tiny, params, batch, objective, trained, frames
):
    loss = LossConfig(
        perceptual=0.0, pixel=0.0 if objective in ("denoise", "flow") else 1.0
    )
    context = make(tiny, objective, trained, loss)
    moving, frozen = select(params, trained)
    before = {path: np.array(value) for path, value in frozen.items()}
    state = init_train_state(context.run, moving)
    step = jax.jit(functools.partial(train_step, context=context, with_gan=False))
    for _ in range(2):  # the learning rate of step 0 is 0
        state, metrics = step(state, frozen, batch[:, :frames], None)
    assert np.isfinite(float(metrics["loss"]))
    used = {
        p for p in moving if "encoder" not in p or "temporal" not in p
    }  # an encoder's TPMs are never used
    still = [p for p in used if np.array_equal(state.trained[p], moving[p])]
    assert not still
    for path, value in frozen.items():
        assert np.array(value).tobytes() == before[path].tobytes()


def test_gan_step_moves_generator_and_critic(tiny, params, batch):
    loss = dataclasses.replace(LATENT_ONLY, gan=GANConfig(weight=0.5, norm="batch"))
    context = make(tiny, "autoencode", ("vae/decoder/*",), loss)
    moving, frozen = select(params, context.run.trained)
    state = init_train_state(context.run, moving)
    new, metrics = jax.jit(
        functools.partial(train_step, context=context, with_gan=True)
    )(state, frozen, batch[:, :1], None)
    assert {"adversarial", "adversarial_weight", "critic"} <= metrics.keys()
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new.critic, state.critic)
    assert all(jax.tree.leaves(changed))
    shut = dataclasses.replace(loss, gan=GANConfig(weight=0.5, gate=1e9, start=5))
    context = make(tiny, "autoencode", ("vae/decoder/*",), shut)
    state = init_train_state(context.run, moving)
    new, metrics = jax.jit(
        functools.partial(train_step, context=context, with_gan=True)
    )(state, frozen, batch[:, :1], None)
    assert metrics["adversarial_weight"] == 0
    assert all(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: bool((a == b).all()), new.critic, state.critic)
        )
    )


def test_training_hops_are_the_inference_step(tiny, params, batch):
    """Burn-in over a window leaves exactly the state of `stream.rollout`."""
    context = make(tiny, rollout=RolloutConfig(burn_in=4))
    video = to_video(jnp.asarray(batch), None)
    first = first_hop(video, jax.random.key(0), context)
    hop = jax.jit(lambda p: burn_in(p, first, video, jnp.asarray(4), context))(params)
    state, sr = jax.jit(
        lambda p: rollout(prepare(p, tiny), first.state, video.lr, config=tiny)
    )(params)
    np.testing.assert_allclose(hop.state.prev_sr, state.prev_sr, atol=1e-5)
    np.testing.assert_allclose(hop.prev_sr, sr[-1], atol=1e-5)
    assert hop.state.frame_index.tolist() == [4, 4]


def gradient_of(context, params, video, key):
    trained, frozen = select(params, context.run.trained)
    state = init_train_state(context.run, trained)
    grad_fn = functools.partial(gradient, hops_loss, with_gan=False)
    run = jax.jit(lambda: unroll(grad_fn, state, frozen, video, key, context))
    return run()


def test_gradient_in_the_scan_is_the_detached_sum(tiny, params, batch):
    """segment=1 equals differentiating the mean loss of all hops with the state cut
    between them.
    """
    context = make(tiny, trained=("controlnet/*",), rollout=RolloutConfig(hops=2))
    video = to_video(jnp.asarray(batch[:, :2]), None)
    key = jax.random.key(3)
    grads, _, metrics = gradient_of(context, params, video, key)
    trained, frozen = select(params, context.run.trained)
    _, first_key, hop_key = jax.random.split(key, 3)
    keys = jax.random.split(hop_key, (2, 1))

    def whole(t):
        hop, total = first_hop(video, first_key, context), 0.0
        for index in range(2):
            frame = jax.tree.map(lambda x: x[index], video)  # noqa: B023
            result = hop_loss(
                merge(t, frozen),
                jax.lax.stop_gradient(hop),
                frame,
                keys[index, 0],
                context,
            )
            hop, total = result.carry, total + result.loss / 2
        return total

    value, expected = jax.jit(jax.value_and_grad(whole))(trained)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    for path in expected:
        np.testing.assert_allclose(
            grads[path], expected[path], atol=2e-6, rtol=1e-3, err_msg=path
        )


def test_longer_segments_reach_back_through_the_feedback(tiny, params, batch):
    still = np.repeat(batch[:, :1], 2, 1)  # nothing moves, so the past is trusted
    video = to_video(jnp.asarray(still), None)
    gradients = {}
    for segment in (1, 2):
        context = make(
            tiny,
            trained=("vae/decoder/*",),
            rollout=RolloutConfig(hops=2, segment=segment),
        )
        gradients[segment], _, _ = gradient_of(
            context, params, video, jax.random.key(0)
        )
    path = next(p for p in gradients[1] if p.endswith("kernel"))
    assert not np.allclose(gradients[1][path], gradients[2][path], atol=1e-7)


def test_accumulated_gradient_is_that_of_the_whole_batch(tiny, params):
    hr = np.stack([moving_texture(1, 64, 64, seed) for seed in range(4)])
    gradients = []
    for parts in (1, 2):
        context = make(
            tiny,
            "autoencode",
            ("vae/*",),
            LossConfig(latent=0, pixel=1.0, perceptual=0),
        )
        optimizer = dataclasses.replace(context.run.optimizer, accumulation=parts)
        run = dataclasses.replace(
            context.run, optimizer=optimizer, data=DataConfig(crop=16, batch_size=4)
        )
        trained, frozen = select(params, run.trained)
        state = init_train_state(run, trained)
        compute = functools.partial(
            accumulate, context=context._replace(run=run), with_gan=False
        )
        gradients.append(
            jax.jit(compute)(state, frozen, hr, None, jax.random.key(0))[0]
        )
    for path in gradients[0]:
        scale = float(jnp.abs(gradients[0][path]).max()) + 1e-8
        np.testing.assert_allclose(
            gradients[1][path] / scale,
            gradients[0][path] / scale,
            atol=1e-4,
            err_msg=path,
        )


def test_splice_cuts_to_the_next_window():
    hr = np.stack([np.full((4, 16, 16, 3), 60 * k, np.uint8) for k in range(3)])
    video = to_video(jnp.asarray(hr), None)
    cut = splice(jax.random.key(0), video, 1.0)
    scene = np.asarray(cut.hr[:, :, 0, 0, 0])
    assert (np.diff(scene, axis=0) != 0).sum(0).tolist() == [1, 1, 1]
    starts = np.asarray(cut.is_start)
    assert starts.sum(0).tolist() == [2, 2, 2]
    assert ((np.diff(scene, axis=0) != 0) == starts[1:]).all()
    assert splice(jax.random.key(0), video, 0.0) is video


def test_lr_made_on_the_device_is_the_loaders():
    from train.data.degrade import bicubic

    hr = moving_texture(2, 64, 64)[None]
    on_device = to_video(jnp.asarray(hr), None).lr
    loaded = to_video(jnp.asarray(hr), jnp.asarray(bicubic(hr[0])[None])).lr
    assert float(jnp.abs(on_device - loaded).max()) <= 2 / 127.5 + 1e-6


def test_dropped_streams_are_first_frames(tiny, params, batch):
    """drop=1: every hop is the first frame of a fresh stream."""
    video = to_video(jnp.asarray(batch[:, :1]), None)
    frame = jax.tree.map(lambda x: x[0], video)
    context = make(tiny, rollout=RolloutConfig(drop=1.0))
    fresh = first_hop(video, jax.random.key(1), context)
    used = fresh._replace(
        state=fresh.state._replace(
            has_prev=jnp.ones(2, bool), prev_sr=fresh.state.prev_sr + 0.7
        )
    )
    run = jax.jit(
        lambda hop: (
            hop_loss(
                params,
                hop,
                frame._replace(is_start=frame.is_start & False),
                jax.random.key(2),
                context,
            ).sr
        )
    )
    np.testing.assert_array_equal(run(fresh), run(used))


@pytest.mark.parametrize(("probability", "expected"), [(0.0, -0.5), (1.0, 0.25)])
def test_the_truth_can_be_fed_back(tiny, probability, expected):
    context = make(tiny, rollout=RolloutConfig(feedback_truth=probability))
    state = init_state(tiny, 2, 16, 16)
    state = state._replace(prev_sr=jnp.full_like(state.prev_sr, -0.5))
    fed = corrupt(jax.random.key(0), state, jnp.full_like(state.prev_sr, 0.25), context)
    np.testing.assert_array_equal(fed.prev_sr, jnp.full_like(state.prev_sr, expected))
