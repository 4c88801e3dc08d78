"""The loss of each stage on one batch; all networks are the package's own, bound to the
stage's parameters.

An objective is `f(params, inputs) -> Result`; video training (`train.rollout`) calls
the same `frame_loss` per hop.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from configs import LossConfig, RunConfig
from sdvsr_jax import diffusion
from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.history import align, estimate_motion, per_image
from sdvsr_jax.metrics.lpips import lpips
from sdvsr_jax.networks import Networks, bind
from sdvsr_jax.ops.resize import resize_linear, upsample_bicubic
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.prepare import prepare
from sdvsr_jax.restoration import restore as repair_frame
from sdvsr_jax.state import AUTO
from sdvsr_jax.stream import decode_latents, init_state
from sdvsr_jax.types import (
    Array,
    Bool,
    Float,
    Flow,
    Frames,
    HasPrev,
    Images,
    Int,
    Latents,
    LRFrame,
    Params,
    PyTree,
    SRFrame,
)
from train import losses
from train.frames import RandomKey, Scalar, Video, reduce_frames

LEVEL = 1 / 127.5
"""Of 8 bits, in [-1, 1]."""
MARGIN = 3
"""LR pixels: the antialiased bicubic filter reaches over two, and one for safety."""
Crop = Float[Array, "b H W _"]
"""Images of one size, of any channels."""


class Context(NamedTuple):
    """The constants of a run; `metric` holds the LPIPS parameters (None: not used)."""

    run: RunConfig
    config: ModelConfig
    metric: Params | None


class Result(NamedTuple):
    """Loss, its unweighted terms, and the pictures it was computed on (`carry`: a
    rollout's state).
    """

    loss: Scalar
    terms: dict[str, Array]
    sr: SRFrame
    hr: SRFrame
    up: SRFrame
    carry: PyTree = ()


def image_terms(
    context: Context, sr: SRFrame, hr: SRFrame, key: RandomKey | None = None
) -> dict[str, Array]:
    """Pixel, phase and perceptual terms. LPIPS sees the picture as it will be shown,
    clipped.

    ``key`` draws where LPIPS begins, if the run shifts it.
    """
    weights = context.run.loss
    terms = {}
    if weights.pixel:
        is_charbonnier = weights.pixel_form == "charbonnier"
        form = losses.charbonnier if is_charbonnier else losses.smooth_l1
        terms["pixel"] = form(sr, hr)
    if weights.perceptual:
        assert context.metric is not None
        picture = jnp.clip(sr, -1, 1)
        truth = hr
        # from a random corner, so that no grid of its strides is learnt
        if weights.shift and key is not None:
            picture, truth = shifted(key, (picture, truth), weights.shift)
        distances = lpips(context.metric, picture, truth, weights.perceptual_net)
        terms["perceptual"] = distances.mean()
    if weights.phase:
        terms["phase"] = losses.phase_pattern(sr, hr)
    return terms


def shifted(key: RandomKey, images: tuple[Crop, ...], limit: int) -> tuple[Array, ...]:
    """The same crop of every image, `limit` pixels smaller, beginning at a random
    pixel.
    """
    row, column = jax.random.randint(key, (2,), 0, limit)
    start = (0, row, column, 0)
    crops = []
    for image in images:
        batch, height, width, channels = image.shape
        size = (batch, height - limit, width - limit, channels)
        # the start is traced, the size is not
        crop = jax.lax.dynamic_slice(image, start, size)
        crops.append(crop)
    return tuple(crops)


def weighted(terms: dict[str, Array], weights: LossConfig) -> Array:
    """sum of weight * term, by name."""
    total = jnp.zeros(())
    for name, term in terms.items():
        weight = getattr(weights, name)
        total += weight * term
    return total


def encode(nets: Networks, hr: SRFrame, lr: LRFrame) -> Latents:
    """Latents of the ground truth."""
    _, hr_height, *_ = hr.shape
    _, height, *_ = lr.shape
    up = upsample_bicubic(lr, hr_height // height)
    return nets.vae.encode(hr, up, lr)


def _bound(params: Params, config: ModelConfig) -> Networks:
    """The networks of the parameters, prepared as for a stream."""
    prepared = prepare(params, config)
    return bind(prepared.params, config)


def decode_plainly(nets: Networks, z: Latents, up: SRFrame, lr: LRFrame) -> SRFrame:
    """The SR frame without a previous one."""
    batch, height, width, _ = lr.shape
    no_history = jnp.zeros((batch, height, width, 1))
    return nets.vae.decode(z, up, lr, [], no_history)


def autoencode(
    params: Params, video: Video, key: RandomKey, context: Context
) -> Result:
    """Encode and decode single frames, the latents disturbed as the denoiser will
    disturb them.
    """
    config = context.config
    weights = context.run.loss
    settings = context.run.rollout
    nets = _bound(params, config)
    lr = video.lr[0]
    hr = video.hr[0]
    up = upsample_bicubic(lr, config.scale)
    z = nets.vae.encode(hr, up, lr)
    noise_key, drop_key = jax.random.split(key)
    batch = len(z)
    share = 1 - settings.latent_drop
    keep = jax.random.bernoulli(drop_key, share, (batch, 1, 1, 1))
    disturbed = disturb(noise_key, z, settings.latent_noise)
    disturbed = disturbed * keep
    sr = decode_plainly(nets, disturbed, up, lr)
    terms = image_terms(context, sr, hr)
    if weights.moments:
        terms["moments"] = losses.moments(z)
    loss = weighted(terms, weights)
    return Result(loss, terms, sr, hr, up)


def disturb(key: RandomKey, z: Latents, strength: float) -> Latents:
    """z + d n with d ~ U(0, strength) per sample."""
    if not strength:
        return z
    size_key, noise_key = jax.random.split(key)
    batch = len(z)
    size = jax.random.uniform(size_key, (batch, 1, 1, 1), maxval=strength)
    noise = jax.random.normal(noise_key, z.shape)
    return z + size * noise


def denoise(params: Params, video: Video, key: RandomKey, context: Context) -> Result:
    """v-prediction at random timesteps, without guidance: the multi-step teacher."""
    config = context.config
    prepared = prepare(params, config)
    nets = bind(prepared.params, config)
    lr = video.lr[0]
    hr = video.hr[0]
    z = encode(nets, hr, lr)
    z = stop_gradient(z)
    batch = len(z)
    time_key, noise_key = jax.random.split(key)
    num_timesteps = config.diffusion.num_train_timesteps
    timestep = jax.random.randint(time_key, (batch,), 0, num_timesteps)
    noise = jax.random.normal(noise_key, z.shape)
    schedule = jnp.asarray(diffusion.alphas_cumprod(config.diffusion))
    alpha_bar = per_image(schedule[timestep])
    alpha = jnp.sqrt(alpha_bar)
    sigma = jnp.sqrt(1 - alpha_bar)
    x = alpha * z + sigma * noise
    shifts = nets.unet.precompute_shifts(timestep)
    v = nets.unet(x, lr, shifts, prepared.prompt.unet)
    # the loss is taken in float32, whatever the network computes in
    v = v.astype(jnp.float32)
    latent = losses.velocity(v, z, noise, alpha, sigma)
    terms = {"latent": latent}
    loss = weighted(terms, context.run.loss)
    # the picture is only looked at: the loss is of the latents
    x0 = stop_gradient(alpha * x - sigma * v)
    up = upsample_bicubic(lr, config.scale)
    sr = decode_plainly(nets, x0, up, lr)
    sr = stop_gradient(sr)
    return Result(loss, terms, sr, hr, up)


def decode(
    params: Params,
    video: Video,
    key: RandomKey,
    context: Context,
    step: Int[Array, ""] | int = 0,
) -> Result:
    """Decodes the true latents with the previous frame's features, to train TPMs."""
    config = context.config
    weights = context.run.loss
    settings = context.run.rollout
    nets = _bound(params, config)
    prev_lr, lr = video.lr
    prev_hr, hr = video.hr
    up = upsample_bicubic(lr, config.scale)
    prev_up = upsample_bicubic(prev_lr, config.scale)
    prev_z = encode(nets, prev_hr, prev_lr)
    prev_plain = decode_plainly(nets, prev_z, prev_up, prev_lr)
    # a past is given: no frame is changed for the sake of the next one
    prev_plain = stop_gradient(prev_plain)
    # the released stage takes its flow from the ground truth, ours from the frames that
    # inference will have
    from_truth = settings.decode_from == "hr"
    prev_sr = prev_hr if from_truth else prev_plain
    image = hr if from_truth else up
    prev_image = prev_hr if from_truth else prev_up
    flow_image = nets.flow.choose_frame(prev_lr, prev_image)
    flow_features = nets.flow.features(flow_image)
    batch, height, width, _ = lr.shape
    state = init_state(config, batch, height, width)
    state = state._replace(
        prev_lr=prev_lr,
        prev_sr=prev_sr,
        flow_features=flow_features,
        has_prev=jnp.ones(batch, bool),
    )
    history = align(nets, state, lr, image, config)
    history = stop_gradient(history)
    z = encode(nets, hr, lr)
    z = disturb(key, z, settings.latent_noise)
    sr = decode_latents(nets, z, lr, up, history, config)
    terms = image_terms(context, sr, hr)
    loss = weighted(terms, weights)
    if weights.flow_match:
        match = flow_match(nets, sr, prev_plain, hr, prev_hr, context)
        # the step is traced: a Python `if` could not look at it
        is_on = step >= weights.flow_match_start
        weight = jnp.where(is_on, weights.flow_match, 0)
        loss += weight * match
        terms["flow_match"] = match
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
        images = tuple((image + 1) / 2 for image in images)
    sr, prev, hr, prev_hr = images
    flow_sr = find_flow(nets, sr, prev)
    flow_hr = find_flow(nets, hr, prev_hr)
    flow_hr = stop_gradient(flow_hr)
    return losses.smooth_l1(flow_sr, flow_hr)


def flow(params: Params, video: Video, key: RandomKey, context: Context) -> Result:
    """The small flow network learns, unsupervised, to explain each frame by its
    predecessor, in both directions.

    Its picture is the true previous frame where the flow takes it: the best history
    that the stream could have.
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
        lr = video.lr[now]
        hr = video.hr[now]
        prev_hr = video.hr[before]
        estimate = find_flow(nets, lr, video.lr[before])
        # judged where the stream uses it: a quarter of an LR pixel is a whole one of
        # the frame that is warped
        estimate_hr = _enlarged(estimate, hr, config)
        photometric = losses.photometric(hr, prev_hr, estimate_hr)
        smoothness = losses.flow_smoothness(estimate, lr)
        terms["photometric"] += photometric / 2
        terms["smoothness"] += smoothness / 2
        warped = warp(prev_hr, estimate_hr)
    loss = weighted(terms, context.run.loss)
    up = upsample_bicubic(video.lr[1], config.scale)
    return Result(loss, terms, warped, video.hr[1], up)


def restore(params: Params, video: Video, key: RandomKey, context: Context) -> Result:
    """The restorer alone, unrolled over the window at LR size, with gradient through
    its own feedback.

    Two outputs are judged: the whole repair, on dirty windows only, which the residual
    learns from, and the repair in the amount that the network chooses, on all windows,
    which the amount learns from. Clean windows say nothing to the residual: each of
    them asks for exactly zero, and dirty ones, where it is right on average only,
    would never outweigh them. The frame that is fed back has the first, the second or
    an amount in between.
    """
    config = context.config
    nets = _bound(params, config)
    clean = reduce_frames(video.hr)
    frames, batch, height, width, _ = video.lr.shape
    is_dirty = dirty_windows(video.lr, clean)
    mask = is_dirty.astype(jnp.float32)
    state = init_state(config, batch, height, width)
    state = state._replace(restore=_degrees(key, is_dirty))
    nothing = jnp.zeros(())
    terms = {"repair": nothing, "whole": nothing, "change": nothing}
    # not looked at: the flow network that is trained here works on LR frames
    hr_height = config.scale * height
    hr_width = config.scale * width
    up = jnp.zeros((batch, hr_height, hr_width, 3))
    before = None
    for lr, truth in zip(video.lr, clean):
        has = state.has_prev
        motion = estimate_motion(nets, state, lr, up, config)
        # the restorer learns with the flow that there is
        motion = stop_gradient(motion)
        restored = repair_frame(nets, motion, state, lr, has)
        residual = restored.repair.residual
        auto = lr + restored.repair.amount * stop_gradient(residual)
        whole = lr + residual
        of_whole = mask * _distance(whole, truth)
        terms["repair"] += jnp.mean(_distance(auto, truth)) / frames
        terms["whole"] += jnp.mean(of_whole) / frames
        # there is no change at the first frame
        if before is not None:
            prev_auto, prev_whole, prev_truth = before
            true_change = truth - prev_truth
            of_auto = _distance(auto - prev_auto, true_change)
            of_whole = mask * _distance(whole - prev_whole, true_change)
            terms["change"] += jnp.mean(of_auto + of_whole) / (frames - 1)
        before = (auto, whole, truth)
        image = nets.flow.choose_frame(restored.lr, up)
        features = stop_gradient(nets.flow.features(image))
        state = state._replace(
            prev_lr=restored.lr,
            memory=restored.repair.memory,
            flow_features=features,
            has_prev=jnp.ones_like(has),
        )
    assert before is not None
    sr, _, hr = before
    weights = context.run.loss
    both = terms["repair"] + terms["whole"]
    loss = weights.repair * both + weights.change * terms["change"]
    return Result(loss, terms, sr, hr, up=video.lr[-1])


def dirty_windows(lr: Frames, clean: Frames) -> Bool[Array, " b"]:
    """Returns which windows [f, b, h, w, 3] are more than reduced and rounded."""
    errors = jnp.mean(_inner(lr - clean) ** 2, (0, 2, 3, 4))
    # two programs reduce the truth, and now and then round to neighbouring levels
    return errors > 0.5 * LEVEL**2


def _distance(frames: LRFrame, truth: LRFrame) -> Float[Array, " b"]:
    """Returns the logarithm of each frame's squared error, about 0 to 10.

    Not the error itself: a noisy window would outweigh ten of a good encoder. Below
    fifteen squared 8-bit levels (36 dB) it hardly counts: with thirty, clean frames
    were smoothed (LPIPS +8 %), with ten dirty ones got a third of their repair, and
    with one none.
    """
    floor = 15 * LEVEL**2
    errors = jnp.mean(_inner(frames - truth) ** 2, (1, 2, 3))
    return jnp.log(errors / floor + 1)


def _inner(frames: Array) -> Array:
    """Returns the frames [..., h, w, c] without the margin in which the truth is
    another: it is reduced from a crop, and the LR frame was reduced from more.

    Judged with it, clean windows pass for dirty ones.
    """
    inner = slice(MARGIN, -MARGIN)
    return frames[..., inner, inner, :]


def _degrees(key: RandomKey, is_dirty: HasPrev) -> Array:
    """Auto for six in ten windows and for all clean ones, whole repair for two, a
    number between for two.
    """
    pick_key, value_key = jax.random.split(key)
    pick = jax.random.uniform(pick_key, is_dirty.shape)
    between = jax.random.uniform(value_key, is_dirty.shape)
    value = jnp.where(pick < 0.8, 1.0, between)
    is_given = is_dirty & (pick >= 0.6)
    return jnp.where(is_given, value, AUTO)


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
    # RAFT looks at the HR frames, the small network at the LR ones
    is_enlarged = flow.shape[:3] == hr.shape[:3]
    return flow if is_enlarged else _enlarged(flow, hr, config)


def _enlarged(flow: Flow, hr: SRFrame, config: ModelConfig) -> Flow:
    """Flow in LR pixels -> at every pixel of the HR frame, in its pixels."""
    _, height, width, _ = hr.shape
    return config.scale * resize_linear(flow, height, width)


def find_flow(nets: Networks, image: Images, prev_image: Images) -> Flow:
    """Flow image -> previous image in their pixels, by the model's network."""
    features = nets.flow.features(image)
    prev_features = nets.flow.features(prev_image)
    return nets.flow(image, features, prev_features)
