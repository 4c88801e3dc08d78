"""What each stage minimises on one batch; all networks are the package's own, bound to
the stage's parameters.

An objective is `f(params, inputs) -> Result`; video training (`train.rollout`) calls
the same `frame_loss` per hop.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from configs import LossConfig, RunConfig
from sdvsr_jax import diffusion
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.history import align, estimate_motion
from sdvsr_jax.metrics.lpips import lpips
from sdvsr_jax.networks import Networks, bind
from sdvsr_jax.ops.resize import resize_linear, upsample_bicubic
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.prepare import prepare
from sdvsr_jax.restoration import restore as repair_frame
from sdvsr_jax.stream import AUTO, decode_latents, init_state
from sdvsr_jax.types import Array, Flow, Latents, LRFrame, Params, PyTree, SRFrame
from train import losses
from train.frames import Video, reduce_frames


class Context(NamedTuple):
    """What does not change over a run: `metric` holds the LPIPS parameters (None: not
    used).
    """

    run: RunConfig
    config: ModelConfig
    metric: Params | None


class Result(NamedTuple):
    """Loss, its unweighted terms, and the pictures it was computed on (`carry`: a
    rollout's state).
    """

    loss: Array
    terms: dict[str, Array]
    sr: SRFrame
    hr: SRFrame
    up: SRFrame
    carry: PyTree = ()


def image_terms(
    context: Context, sr: SRFrame, hr: SRFrame, key: Array | None = None
) -> dict[str, Array]:
    """Pixel, phase and perceptual terms. LPIPS sees the picture as it will be shown,
    clipped.

    ``key`` draws where LPIPS begins, if the run shifts it.
    """
    weights = context.run.loss
    terms = {}
    if weights.pixel:
        form = (
            losses.charbonnier
            if weights.pixel_form == "charbonnier"
            else losses.smooth_l1
        )
        terms["pixel"] = form(sr, hr)
    if weights.perceptual:
        assert context.metric is not None
        clipped, truth = jnp.clip(sr, -1, 1), hr
        if weights.shift and key is not None:
            clipped, truth = shifted(key, (clipped, truth), weights.shift)
        terms["perceptual"] = lpips(
            context.metric, clipped, truth, weights.perceptual_net
        ).mean()
    if weights.phase:
        terms["phase"] = losses.phase_pattern(sr, hr)
    return terms


def shifted(key: Array, images: tuple[SRFrame, ...], limit: int) -> tuple[Array, ...]:
    """The same crop of every image, `limit` pixels smaller, beginning at a random
    pixel.
    """
    row, column = jax.random.randint(key, (2,), 0, limit)
    b, height, width, c = images[0].shape
    size = (b, height - limit, width - limit, c)
    return tuple(
        jax.lax.dynamic_slice(image, (0, row, column, 0), size) for image in images
    )


def weighted(terms: dict[str, Array], weights: LossConfig) -> Array:
    """sum of weight * term, by name."""
    return sum(
        (getattr(weights, name) * term for name, term in terms.items()), jnp.zeros(())
    )


def encode(nets: Networks, hr: SRFrame, lr: LRFrame) -> Latents:
    """Latents of the ground truth."""
    return nets.vae.encode(hr, upsample_bicubic(lr, hr.shape[1] // lr.shape[1]), lr)


def autoencode(params: Params, video: Video, key: Array, context: Context) -> Result:
    """Encode and decode single frames, the latents disturbed as the denoiser will
    disturb them.
    """
    run, config = context.run, context.config
    nets = bind(prepare(params, config).params, config)
    lr, hr = video.lr[0], video.hr[0]
    up = upsample_bicubic(lr, config.scale)
    z = nets.vae.encode(hr, up, lr)
    noise_key, drop_key = jax.random.split(key)
    keep = jax.random.bernoulli(
        drop_key, 1 - run.rollout.latent_drop, (len(z), 1, 1, 1)
    )
    disturbed = disturb(noise_key, z, run.rollout.latent_noise) * keep
    sr = nets.vae.decode(disturbed, up, lr, [], jnp.zeros((*lr.shape[:3], 1)))
    terms = image_terms(context, sr, hr)
    if run.loss.moments:
        terms["moments"] = losses.moments(z)
    return Result(weighted(terms, run.loss), terms, sr, hr, up)


def disturb(key: Array, z: Latents, strength: float) -> Latents:
    """z + d n with d ~ U(0, strength) per sample."""
    if not strength:
        return z
    size_key, noise_key = jax.random.split(key)
    size = jax.random.uniform(size_key, (len(z), 1, 1, 1), maxval=strength)
    return z + size * jax.random.normal(noise_key, z.shape)


def denoise(params: Params, video: Video, key: Array, context: Context) -> Result:
    """v-prediction at random timesteps, without guidance: the multi-step teacher."""
    config = context.config
    prepared = prepare(params, config)
    nets = bind(prepared.params, config)
    lr, hr = video.lr[0], video.hr[0]
    z = jax.lax.stop_gradient(encode(nets, hr, lr))
    time_key, noise_key = jax.random.split(key)
    timestep = jax.random.randint(
        time_key, (len(z),), 0, config.diffusion.num_train_timesteps
    )
    noise = jax.random.normal(noise_key, z.shape)
    alpha_bar = jnp.asarray(diffusion.alphas_cumprod(config.diffusion))[timestep][
        :, None, None, None
    ]
    alpha, sigma = jnp.sqrt(alpha_bar), jnp.sqrt(1 - alpha_bar)
    x = alpha * z + sigma * noise
    shifts = nets.unet.precompute_shifts(timestep)
    v = nets.unet(x, lr, shifts, prepared.prompt.unet).astype(jnp.float32)
    terms = {"latent": losses.velocity(v, z, noise, alpha, sigma)}
    up = upsample_bicubic(lr, config.scale)
    x0 = jax.lax.stop_gradient(alpha * x - sigma * v)
    sr = nets.vae.decode(x0, up, lr, [], jnp.zeros((*lr.shape[:3], 1)))
    return Result(
        weighted(terms, context.run.loss), terms, jax.lax.stop_gradient(sr), hr, up
    )


def decode(
    params: Params, video: Video, key: Array, context: Context, step: Array | int = 0
) -> Result:
    """Decodes the true latents with the previous frame's features, to train TPMs."""
    run, config = context.run, context.config
    nets = bind(prepare(params, config).params, config)
    (prev_lr, lr), (prev_hr, hr) = video.lr, video.hr
    up, prev_up = (upsample_bicubic(x, config.scale) for x in (lr, prev_lr))
    blank = jnp.zeros((*lr.shape[:3], 1))
    prev_plain = nets.vae.decode(
        encode(nets, prev_hr, prev_lr), prev_up, prev_lr, [], blank
    )
    from_truth = run.rollout.decode_from == "hr"
    prev_sr = prev_hr if from_truth else jax.lax.stop_gradient(prev_plain)
    # the released stage takes its flow from the ground truth, ours from what inference
    # will have
    image, prev_image = (hr, prev_hr) if from_truth else (up, prev_up)
    state = init_state(config, *lr.shape[:3])._replace(
        prev_lr=prev_lr,
        prev_sr=prev_sr,
        flow_features=nets.flow.features(nets.flow.choose_frame(prev_lr, prev_image)),
        has_prev=jnp.ones(len(lr), bool),
    )
    history = align(nets, state, lr, image, config)
    z = disturb(key, encode(nets, hr, lr), run.rollout.latent_noise)
    sr = decode_latents(nets, z, lr, up, jax.lax.stop_gradient(history), config)
    terms = image_terms(context, sr, hr)
    loss = weighted(terms, run.loss)
    if run.loss.flow_match:
        terms["flow_match"] = flow_match(
            nets, sr, jax.lax.stop_gradient(prev_plain), hr, prev_hr, context
        )
        loss += (
            jnp.where(step >= run.loss.flow_match_start, run.loss.flow_match, 0)
            * terms["flow_match"]
        )
    return Result(loss, terms, sr, hr, up)


def flow_match(
    nets: Networks,
    sr: SRFrame,
    prev: SRFrame,
    hr: SRFrame,
    prev_hr: SRFrame,
    context: Context,
) -> Array:
    """smooth L1 between flow(SR, previous) and flow(HR, previous HR), beta 0.1."""
    images = (sr, prev, hr, prev_hr)
    if context.run.loss.flow_match_range == "01":
        images = tuple((x + 1) / 2 for x in images)
    flow_sr, flow_hr = find_flow(nets, *images[:2]), find_flow(nets, *images[2:])
    return losses.smooth_l1(flow_sr, jax.lax.stop_gradient(flow_hr))


def flow(params: Params, video: Video, key: Array, context: Context) -> Result:
    """The small flow network learns, unsupervised, to explain each frame by its
    predecessor, in both directions.

    Its picture is the true previous frame where the flow takes it: what the stream
    could have at best.
    """
    del key
    config = context.config
    if not isinstance(config.flow, FlowNetConfig):
        raise ValueError(
            f"objective 'flow' trains the small flow network, {config.name} has "
            f"{config.flow.kind}"
        )
    nets = bind(params, config)
    terms: dict[str, Array] = {
        "photometric": jnp.zeros(()),
        "smoothness": jnp.zeros(()),
    }
    warped = video.hr[0]
    for before, now in ((1, 0), (0, 1)):
        lr, hr = video.lr[now], video.hr[now]
        estimate = find_flow(nets, lr, video.lr[before])
        # judged where the stream uses it: a quarter of an LR pixel is a whole one of
        # the frame that is warped
        estimate_hr = config.scale * resize_linear(estimate, *hr.shape[1:3])
        terms["photometric"] += (
            losses.photometric(hr, video.hr[before], estimate_hr) / 2
        )
        terms["smoothness"] += losses.flow_smoothness(estimate, lr) / 2
        warped = warp(video.hr[before], estimate_hr)
    up = upsample_bicubic(video.lr[1], config.scale)
    return Result(weighted(terms, context.run.loss), terms, warped, video.hr[1], up)


def restore(params: Params, video: Video, key: Array, context: Context) -> Result:
    """The restorer alone, unrolled over the window at LR size, with gradient through
    its own feedback.

    Two outputs are judged: with the amount of repair that it chooses, on all windows,
    and the whole repair, on dirty windows only. What is fed back has the first, the
    second or an amount in between.
    """
    config = context.config
    nets = bind(prepare(params, config).params, config)
    clean = reduce_frames(video.hr)
    batch, height, width = video.lr.shape[1:4]
    # two programs reduce the truth, which may round a value to neighbouring levels
    is_dirty = jnp.abs(video.lr - clean).max((0, 2, 3, 4)) > 2.5 / 127.5
    mask = is_dirty[:, None, None, None].astype(jnp.float32)
    state = init_state(config, batch, height, width)._replace(
        restore=_degrees(key, is_dirty)
    )
    terms = {"repair": jnp.zeros(()), "whole": jnp.zeros(()), "change": jnp.zeros(())}
    frames = len(video.lr)
    before = None
    for lr, truth in zip(video.lr, clean):
        up = jnp.zeros((batch, height * config.scale, width * config.scale, 3))
        has = state.has_prev
        motion = estimate_motion(nets, state, lr, up, config)
        motion = jax.lax.stop_gradient(motion)
        restored = repair_frame(nets, motion, state, lr, has)
        residual, amount = restored.repair.residual, restored.repair.amount
        auto, full = lr + amount * residual, lr + residual
        terms["repair"] += losses.charbonnier(auto, truth) / frames
        terms["whole"] += jnp.mean(mask * jnp.sqrt((full - truth) ** 2 + 1e-6)) / frames
        if before is not None:
            change = (auto - before[0]) - (truth - before[1])
            terms["change"] += jnp.mean(jnp.sqrt(change**2 + 1e-6)) / (frames - 1)
        before = auto, truth
        image = nets.flow.choose_frame(restored.lr, up)
        features = jax.lax.stop_gradient(nets.flow.features(image))
        state = state._replace(
            prev_lr=restored.lr,
            memory=restored.repair.memory,
            flow_features=features,
            has_prev=jnp.ones_like(has),
        )
    assert before is not None
    weights = context.run.loss
    loss = (
        weights.repair * (terms["repair"] + 0.5 * terms["whole"])
        + weights.change * terms["change"]
    )
    return Result(loss, terms, before[0], before[1], video.lr[-1])


def _degrees(key: Array, is_dirty: Array) -> Array:
    """Auto for six in ten windows and for all clean ones, whole repair for two, a
    number between for two.
    """
    pick_key, value_key = jax.random.split(key)
    pick = jax.random.uniform(pick_key, is_dirty.shape)
    value = jnp.where(pick < 0.8, 1.0, jax.random.uniform(value_key, is_dirty.shape))
    return jnp.where(is_dirty & (pick >= 0.6), value, AUTO)


def true_flow(
    nets: Networks,
    lr: LRFrame,
    prev_lr: LRFrame,
    hr: SRFrame,
    prev_hr: SRFrame,
    config: ModelConfig,
) -> Flow:
    """Flow current -> previous in HR pixels, from the truth as far as the model's flow
    network allows.
    """
    image = nets.flow.choose_frame(lr, hr)
    prev_image = nets.flow.choose_frame(prev_lr, prev_hr)
    flow = find_flow(nets, image, prev_image)
    if flow.shape[1:3] == hr.shape[1:3]:
        return flow
    return config.scale * resize_linear(flow, *hr.shape[1:3])


def find_flow(nets: Networks, image: Array, prev_image: Array) -> Flow:
    """Flow image -> previous image in their pixels, by the model's network."""
    features = nets.flow.features(image)
    return nets.flow(image, features, nets.flow.features(prev_image))
