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
    init = jax.jit(init_params, static_argnums=1)
    leaves = flatten(init(jax.random.key(0), tiny))
    rng = np.random.default_rng(0)
    noisy = {
        path: value + 0.02 * rng.standard_normal(value.shape, np.float32)
        for path, value in leaves.items()
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
    has_pictures = objective not in ("denoise", "flow")
    loss = LossConfig(perceptual=0.0, pixel=1.0 if has_pictures else 0.0)
    context = make(tiny, objective, trained, loss)
    moving, frozen = select(params, trained)
    before = {path: np.array(value) for path, value in frozen.items()}
    state = init_train_state(context.run, moving)
    step = jax.jit(functools.partial(train_step, context=context, with_gan=False))
    # the learning rate of step 0 is 0
    for _ in range(2):
        state, metrics = step(state, frozen, batch[:, :frames], None)
    assert np.isfinite(float(metrics["loss"]))
    # an encoder's TPMs are never used
    used = [path for path in moving if "encoder" not in path or "temporal" not in path]
    for path in used:
        assert not np.array_equal(state.trained[path], moving[path]), path
    for path, value in frozen.items():
        assert np.array(value).tobytes() == before[path].tobytes()


def test_gan_step_moves_generator_and_critic(tiny, params, batch):
    loss = dataclasses.replace(LATENT_ONLY, gan=GANConfig(weight=0.5, norm="batch"))
    context = make(tiny, "autoencode", ("vae/decoder/*",), loss)
    moving, frozen = select(params, context.run.trained)
    state = init_train_state(context.run, moving)
    step = jax.jit(functools.partial(train_step, context=context, with_gan=True))
    after, metrics = step(state, frozen, batch[:, :1], None)
    assert {"adversarial", "adversarial_weight", "critic"} <= metrics.keys()
    assert all(leaves_moved(state.critic, after.critic))

    # before its start, and with a gate that no loss reaches
    gan = GANConfig(weight=0.5, gate=1e9, start=5)
    shut = dataclasses.replace(loss, gan=gan)
    context = make(tiny, "autoencode", ("vae/decoder/*",), shut)
    state = init_train_state(context.run, moving)
    step = jax.jit(functools.partial(train_step, context=context, with_gan=True))
    after, metrics = step(state, frozen, batch[:, :1], None)
    assert metrics["adversarial_weight"] == 0
    assert not any(leaves_moved(state.critic, after.critic))


def leaves_moved(before, after) -> list[bool]:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return [bool((a != b).any()) for a, b in pairs]


def test_training_hops_are_the_inference_step(tiny, params, batch):
    """Burn-in over a window leaves exactly the state of `stream.rollout`."""
    context = make(tiny, rollout=RolloutConfig(burn_in=4))
    video = to_video(jnp.asarray(batch), None)
    first = first_hop(video, jax.random.key(0), context)

    @jax.jit
    def in_training(params):
        return burn_in(params, first, video, jnp.asarray(4), context)

    @jax.jit
    def in_inference(params):
        return rollout(prepare(params, tiny), first.state, video.lr, config=tiny)

    hop = in_training(params)
    state, sr = in_inference(params)
    # two programs of the same arithmetic
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

    def mean_loss(trained):
        model = merge(trained, frozen)
        hop = first_hop(video, first_key, context)
        total = 0.0
        for index in range(2):
            frame = jax.tree.map(lambda x: x[index], video)  # noqa: B023
            before = jax.lax.stop_gradient(hop)
            result = hop_loss(model, before, frame, keys[index, 0], context)
            hop = result.carry
            total += result.loss / 2
        return total

    value, expected = jax.jit(jax.value_and_grad(mean_loss))(trained)
    # float32 sums in another order
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, atol=2e-6, rtol=1e-3)
    for path in expected:
        close(grads[path], expected[path], err_msg=path)


def test_longer_segments_reach_back_through_the_feedback(tiny, params, batch):
    # nothing moves, so the past is trusted
    still = np.repeat(batch[:, :1], 2, 1)
    video = to_video(jnp.asarray(still), None)

    def gradients(segment: int):
        settings = RolloutConfig(hops=2, segment=segment)
        context = make(tiny, trained=("vae/decoder/*",), rollout=settings)
        grads, _, _ = gradient_of(context, params, video, jax.random.key(0))
        return grads

    detached = gradients(1)
    through = gradients(2)
    path = next(path for path in detached if path.endswith("kernel"))
    # 1e-7 and 1e-5 of a value: more than two programs of the same arithmetic differ by
    assert not np.allclose(detached[path], through[path], atol=1e-7)


def test_accumulated_gradient_is_that_of_the_whole_batch(tiny, params):
    hr = np.stack([moving_texture(1, 64, 64, seed) for seed in range(4)])
    pixel_only = LossConfig(latent=0, pixel=1.0, perceptual=0)
    context = make(tiny, "autoencode", ("vae/*",), pixel_only)
    data = DataConfig(crop=16, batch_size=4)

    def gradients(parts: int) -> dict:
        optimizer = dataclasses.replace(context.run.optimizer, accumulation=parts)
        run = dataclasses.replace(context.run, optimizer=optimizer, data=data)
        own_context = context._replace(run=run)
        trained, frozen = select(params, run.trained)
        state = init_train_state(run, trained)
        compute = jax.jit(
            functools.partial(accumulate, context=own_context, with_gan=False)
        )
        grads, *_ = compute(state, frozen, hr, None, jax.random.key(0))
        return grads

    expected = gradients(1)
    for path, gradient_in_parts in gradients(2).items():
        scale = float(jnp.abs(expected[path]).max()) + 1e-8
        difference = (gradient_in_parts - expected[path]) / scale
        # float32 sums over the batch in another order, of the largest value
        np.testing.assert_allclose(difference, 0, atol=1e-4, err_msg=path)


def test_splice_cuts_to_the_next_window():
    hr = np.stack([np.full((4, 16, 16, 3), 60 * k, np.uint8) for k in range(3)])
    video = to_video(jnp.asarray(hr), None)
    cut = splice(jax.random.key(0), video, 1.0)
    scene = np.asarray(cut.hr[:, :, 0, 0, 0])
    is_cut = np.diff(scene, axis=0) != 0
    assert is_cut.sum(0).tolist() == [1, 1, 1]
    starts = np.asarray(cut.is_start)
    assert starts[0].all()
    np.testing.assert_array_equal(starts[1:], is_cut)
    assert splice(jax.random.key(0), video, 0.0) is video


def test_lr_made_on_the_device_is_the_loaders():
    from train.data.degrade import bicubic

    clip = moving_texture(2, 64, 64)
    hr = jnp.asarray(clip[None])
    lr = jnp.asarray(bicubic(clip)[None])
    on_device = to_video(hr, None).lr
    loaded = to_video(hr, lr).lr
    difference = jnp.abs(on_device - loaded)
    # Pillow quantises after each of the two axes: at most 2 levels
    assert float(difference.max()) <= 2 / 127.5 + 1e-6


def test_dropped_streams_are_first_frames(tiny, params, batch):
    """drop=1: every hop is the first frame of a fresh stream."""
    video = to_video(jnp.asarray(batch[:, :1]), None)
    frame = jax.tree.map(lambda x: x[0], video)
    context = make(tiny, rollout=RolloutConfig(drop=1.0))
    fresh = first_hop(video, jax.random.key(1), context)
    prev_sr = fresh.state.prev_sr + 0.7
    state = fresh.state._replace(has_prev=jnp.ones(2, bool), prev_sr=prev_sr)
    used = fresh._replace(state=state)
    # not by the window's own beginning
    frame = frame._replace(is_start=frame.is_start & False)

    @jax.jit
    def run(hop):
        return hop_loss(params, hop, frame, jax.random.key(2), context).sr

    np.testing.assert_array_equal(run(fresh), run(used))


@pytest.mark.parametrize(("probability", "expected"), [(0.0, -0.5), (1.0, 0.25)])
def test_the_truth_can_be_fed_back(tiny, probability, expected):
    context = make(tiny, rollout=RolloutConfig(feedback_truth=probability))
    state = init_state(tiny, 2, 16, 16)
    output = jnp.full_like(state.prev_sr, -0.5)
    truth = jnp.full_like(state.prev_sr, 0.25)
    state = state._replace(prev_sr=output)
    fed = corrupt(jax.random.key(0), state, truth, context)
    np.testing.assert_array_equal(fed.prev_sr, jnp.full_like(output, expected))
