"""Video training: the inference step unrolled over a window, gradients taken inside the
scan body.

    burn-in (no gradient) -> segments of hops; each segment: value_and_grad, its
    gradient added to the carry

so memory does not grow with the number of hops (`jax.lax.stop_gradient` on the state
would save none).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from configs import RolloutConfig
from sdvsr_jax.config import ModelConfig
from sdvsr_jax.diffusion import step_coefficients
from sdvsr_jax.history import per_image
from sdvsr_jax.metrics.lpips import lpips
from sdvsr_jax.networks import bind
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.prepare import prepare
from sdvsr_jax.state import StreamState, reset
from sdvsr_jax.stream import (
    Denoised,
    advance,
    frame_noise,
    init_state,
)
from sdvsr_jax.types import (
    Array,
    HasPrev,
    Int,
    Key,
    Latents,
    LRFrame,
    Params,
    Prepared,
    SRFrame,
)
from train import losses
from train.frames import RandomKey, Video, reduce_frames
from train.objectives import (
    Context,
    Result,
    encode,
    image_terms,
    shifted,
    true_flow,
    weighted,
)
from train.selection import Flat, merge
from train.state import TrainState

Gradient = tuple[Flat, Result, dict[str, Array]]
"""By the trained parameters, the last result, and mean metrics."""


class Hop(NamedTuple):
    """State between frames of a window: the stream's own, and the last truth and output
    for the temporal loss.
    """

    state: StreamState
    prev_hr: SRFrame
    prev_sr: SRFrame


def first_hop(video: Video, key: RandomKey, context: Context) -> Hop:
    """A fresh state; its noise depends on `key` and the sample's place in the batch."""
    _, batch, height, width, _ = video.lr.shape
    state = init_state(context.config, batch, height, width)
    # by its place alone: the size of the batch must not change a sample's noise
    fold = functools.partial(jax.random.fold_in, key)
    keys = jax.vmap(fold)(jnp.arange(batch))
    blank = jnp.zeros_like(video.hr[0])
    return Hop(state._replace(key=keys), blank, blank)


def burn_in(
    params: Params, hop: Hop, video: Video, count: Int[Array, ""], context: Context
) -> Hop:
    """The last `count` (traced) frames of the first `burn_in`, without gradient."""
    config = context.config
    total = context.run.rollout.burn_in
    # once, not in every frame: the parameters do not change on the way
    prepared = stop_gradient(prepare(params, config))

    def body(index: Array, hop: Hop) -> Hop:
        frame = video.lr[index]
        is_start = video.is_start[index]
        state = at_cut(hop.state, is_start, context)
        state, sr, _ = advance(prepared, state, frame, config=config)
        return Hop(state, video.hr[index], sr)

    first = total - count
    # a traced number of turns: no gradient can pass such a loop, and none needs to
    return jax.lax.fori_loop(first, total, body, hop)


def at_cut(state: StreamState, is_start: HasPrev, context: Context) -> StreamState:
    """Streams restart at a cut, unless the model finds its cuts itself: then it meets
    them as they come.
    """
    finds_cuts = context.config.history.cut_validity
    return state if finds_cuts else reset(state, is_start)


def corrupt(
    key: RandomKey, state: StreamState, prev_hr: SRFrame, context: Context
) -> StreamState:
    """The fed-back frame, or the truth, with noise, gain and offset; some streams
    forget it altogether.
    """
    settings = context.run.rollout
    keys = jax.random.split(key, 5)
    size_key, half_key, noise_key, gain_key, drop_key = keys
    batch = len(state.has_prev)
    shape = (batch, 1, 1, 1)
    sr = state.prev_sr
    if settings.feedback_truth:
        # teacher forcing: of a poor history a model learns to expect nothing
        truth_key = jax.random.fold_in(key, 1)
        is_true = jax.random.bernoulli(truth_key, settings.feedback_truth, shape)
        sr = jnp.where(is_true, prev_hr, sr)
    if settings.feedback_noise:
        size = jax.random.uniform(size_key, shape, maxval=settings.feedback_noise)
        size *= jax.random.bernoulli(half_key, 0.5, shape)
        noise = jax.random.normal(noise_key, sr.shape)
        sr = sr + size * noise
    if settings.feedback_gain:
        channels = (batch, 1, 1, 3)
        between = jax.random.uniform(gain_key, (2, *channels), minval=-1)
        gain, offset = settings.feedback_gain * between
        sr = sr * (1 + gain) + offset
    forgets = jax.random.bernoulli(drop_key, settings.drop, (batch,))
    has_prev = state.has_prev & ~forgets
    return state._replace(prev_sr=sr, has_prev=has_prev)


def hop_loss(
    params: Params, hop: Hop, frame: Video, key: RandomKey, context: Context
) -> Result:
    """One gradient hop: the inference step on a (disturbed) state, and the losses of
    its frame.
    """
    config = context.config
    weights = context.run.loss
    state = at_cut(hop.state, frame.is_start, context)
    state = corrupt(key, state, hop.prev_hr, context)
    prepared = prepare(params, config)
    nets = bind(prepared.params, config)
    clean = _clean_frame(frame, config)
    # a target: the encoder is not to make it easy
    z = encode(nets, frame.hr, clean)
    z = stop_gradient(z)
    _, rows, columns, _ = z.shape
    normal = frame_noise(state, (rows, columns), config)
    noise = _start(normal, z, context)
    new_state, sr, denoised = advance(
        prepared,
        state,
        frame.lr,
        config=config,
        noise=noise,
    )
    metric_key = jax.random.fold_in(key, 2)
    terms = image_terms(context, sr, frame.hr, metric_key)
    if weights.repair:
        repaired = _cropped(new_state.prev_lr, clean)
        terms["repair"] = losses.charbonnier(repaired, clean)
    if weights.latent:
        terms["latent"] = latent_term(denoised, z, normal, context)
    has_prev = hop.state.has_prev & ~frame.is_start
    if weights.temporal:
        terms["temporal"] = temporal_term(prepared, sr, hop, frame, has_prev, context)
    if weights.flicker:
        terms["flicker"] = flicker_term(sr, hop, frame, has_prev, key, context)
    loss = weighted(terms, weights)
    # the critic's condition
    up = upsample_bicubic(frame.lr, config.scale)
    carry = Hop(new_state, frame.hr, sr)
    return Result(loss, terms, sr, frame.hr, up, carry)


def _cropped(padded: LRFrame, frame: LRFrame) -> LRFrame:
    """A frame of the state without the padding that ``frame`` does not have."""
    _, height, width, _ = frame.shape
    return padded[:, :height, :width]


def _clean_frame(frame: Video, config: ModelConfig) -> LRFrame:
    """The LR frame that the latents of the truth belong to."""
    if config.restorer is None:
        return frame.lr
    (clean,) = reduce_frames(frame.hr[None])
    return clean


def latent_term(
    denoised: Denoised, z: Latents, normal: Latents, context: Context
) -> Array:
    """The latents against those of the truth, in the form that the run asks for."""
    if context.run.loss.latent_form == "x0":
        return losses.latent_x0(denoised.x0, z)
    diffusion = context.config.diffusion
    return losses.latent_v(denoised.sample, denoised.x0, z, normal, diffusion)


def temporal_term(
    prepared: Prepared,
    sr: SRFrame,
    hop: Hop,
    frame: Video,
    has_prev: HasPrev,
    context: Context,
) -> Array:
    """Masked temporal residual along the flow of the truth; streams without a past
    count nothing.
    """
    config = context.config
    # the flow is a measure here, and not trained by what it measures
    frozen = stop_gradient(prepared.params)
    nets = bind(frozen, config)
    hr = frame.hr
    prev_hr = hop.prev_hr
    if config.restorer is None:
        lr = frame.lr
        prev_lr = _cropped(hop.state.prev_lr, lr)
    else:
        # the truth does not move with the noise of its dirty copy
        prev_lr, lr = reduce_frames(jnp.stack([prev_hr, hr]))
    flow = true_flow(nets, lr, prev_lr, hr, prev_hr, config)
    back = true_flow(nets, prev_lr, lr, prev_hr, hr, config)
    has_past = per_image(has_prev)
    mask = losses.occlusion_mask(flow, back) * has_past
    # where the flow does not explain the truth itself, it says nothing about the output
    # (Lai et al. 2018; [0, 1])
    warped = warp(prev_hr, flow)
    difference = (hr - warped) / 2
    square = jnp.square(difference)
    error = square.sum(-1, keepdims=True)
    confidence = jnp.exp(-50 * error)
    mask = stop_gradient(mask * confidence)
    flow = stop_gradient(flow)
    return losses.temporal_residual(sr, hop.prev_sr, hr, prev_hr, flow, mask)


def flicker_term(
    sr: SRFrame,
    hop: Hop,
    frame: Video,
    has_prev: HasPrev,
    key: RandomKey,
    context: Context,
) -> Array:
    """The change that LPIPS sees from frame to frame, against that of the truth.

    Streams without a past count nothing.
    """
    assert context.metric is not None
    settings = context.run.loss
    picture = jnp.clip(sr, -1, 1)
    shown_before = jnp.clip(hop.prev_sr, -1, 1)
    images = (picture, shown_before, frame.hr, hop.prev_hr)
    if settings.shift:
        shift_key = jax.random.fold_in(key, 3)
        images = shifted(shift_key, images, settings.shift)
    now, before, true_now, true_before = images
    before = stop_gradient(before)
    net = settings.perceptual_net
    change = lpips(context.metric, now, before, net)
    true_change = lpips(context.metric, true_now, true_before, net)
    # less change than the truth's is a fault as well: a frozen texture
    difference = jnp.abs(change - true_change)
    weight = has_prev.astype(jnp.float32)
    return jnp.mean(weight * difference)


def _start(normal: Latents, z: Latents, context: Context) -> Latents:
    if context.run.rollout.start == "noise":
        return normal
    coefficients = step_coefficients(context.config.diffusion)
    first = _element(coefficients, 0)
    return first.alpha * z + first.sigma * normal


def _element(tree: Any, index: int) -> Any:
    """That element of every array."""
    return jax.tree.map(lambda x: x[index], tree)


def unroll(
    grad_fn: Callable[..., Gradient],
    state: TrainState,
    frozen: Flat,
    video: Video,
    key: RandomKey,
    context: Context,
) -> Gradient:
    """Burn-in, then the hops.

    `grad_fn(state, frozen, (hop, frames, keys), context)` differentiates the mean over
    the hops of one segment.
    """
    settings = context.run.rollout
    count_key, first_key, hop_key = jax.random.split(key, 3)
    hop = first_hop(video, first_key, context)
    if settings.burn_in:
        # none at times, so that a stream's first frames are trained as well
        end = settings.burn_in + 1
        count = jax.random.randint(count_key, (), 0, end)
        params = merge(state.trained, frozen)
        hop = burn_in(params, hop, video, count, context)
    segments = settings.hops // settings.segment
    split = functools.partial(_split, settings=settings)
    frames = jax.tree.map(split, video)
    keys = jax.random.split(hop_key, (segments, settings.segment))
    xs = (frames, keys)
    body = functools.partial(
        _segment_gradient,
        grad_fn=grad_fn,
        state=state,
        frozen=frozen,
        context=context,
    )
    if segments == 1:
        _, single = body(hop, _element(xs, 0))
        return single
    return _accumulate(body, hop, xs, segments, context.run.unroll)


def _split(x: Array, settings: RolloutConfig) -> Array:
    """[frames, ...] -> [segments, hops of a segment, ...], the burn-in left out."""
    segments = settings.hops // settings.segment
    hops = x[settings.burn_in :]
    _, *sizes = x.shape
    return hops.reshape(segments, settings.segment, *sizes)


def _segment_gradient(
    hop: Hop,
    xs: tuple[Video, Array],
    *,
    grad_fn: Callable[..., Gradient],
    state: TrainState,
    frozen: Flat,
    context: Context,
) -> tuple[Hop, Gradient]:
    grads, result, metrics = grad_fn(state, frozen, (hop, *xs), context)
    carry = stop_gradient(result.carry)
    result = result._replace(carry=())
    return carry, (grads, result, metrics)


def hops_loss(
    params: Params, hop: Hop, frames: Video, keys: Key[Array, " hops"], context: Context
) -> Result:
    """Mean loss over the hops of a segment, differentiated through the feedback between
    them.
    """
    total: Result | None = None
    for index in range(len(keys)):
        frame = _element(frames, index)
        result = hop_loss(params, hop, frame, keys[index], context)
        hop = result.carry
        total = result if total is None else _added(result, total)
    assert total is not None
    count = len(keys)
    loss = total.loss / count
    terms = {name: term / count for name, term in total.terms.items()}
    return total._replace(loss=loss, terms=terms)


def _added(result: Result, total: Result) -> Result:
    """The result with the loss and the terms of those before it."""
    loss = result.loss + total.loss
    terms = jax.tree.map(jnp.add, result.terms, total.terms)
    return result._replace(loss=loss, terms=terms)


def _accumulate(
    body: Callable[..., tuple[Hop, Gradient]],
    hop: Hop,
    xs: tuple[Video, Array],
    segments: int,
    unroll: bool,
) -> Gradient:
    def add(total: Array, part: Array) -> Array:
        return total + part / segments

    def scan_body(
        carry: tuple[Hop, Gradient], x: tuple
    ) -> tuple[tuple[Hop, Gradient], None]:
        hop, (sum_grads, _, sum_metrics) = carry
        hop, (grads, result, metrics) = body(hop, x)
        grads = jax.tree.map(add, sum_grads, grads)
        metrics = jax.tree.map(add, sum_metrics, metrics)
        gradient = (grads, result, metrics)
        return (hop, gradient), None

    first = _element(xs, 0)
    _, zeros = zeros_like_result(body, hop, first)
    start = (hop, zeros)
    # a CPU is several times as fast without the loop
    (_, total), _ = jax.lax.scan(scan_body, start, xs, unroll=unroll)
    return total


def zeros_like_result(function: Callable, *arguments: Any) -> Any:
    """Returns zeros in the shapes of the function's result, which is not computed."""

    def zeros(leaf: jax.ShapeDtypeStruct) -> Array:
        return jnp.zeros(leaf.shape, leaf.dtype)

    shapes = jax.eval_shape(function, *arguments)
    return jax.tree.map(zeros, shapes)
