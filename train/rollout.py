"""Video training: the inference step unrolled over a window, gradients taken inside the
scan body.

    burn-in (no gradient) -> segments of hops; each segment: value_and_grad, its
    gradient added to the carry

so memory does not grow with the number of hops (`jax.lax.stop_gradient` on the state
would save none).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from configs import RolloutConfig
from sdvsr_jax.diffusion import step_coefficients
from sdvsr_jax.metrics.lpips import lpips
from sdvsr_jax.networks import bind
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import StreamState, advance, frame_noise, init_state, reset
from sdvsr_jax.types import Array, HasPrev, Params, Prepared, SRFrame
from train import losses
from train.frames import Video, reduce_frames
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


class Hop(NamedTuple):
    """State between frames of a window: the stream's own, and the last truth and output
    for the temporal loss.
    """

    state: StreamState
    prev_hr: SRFrame
    prev_sr: SRFrame


def first_hop(video: Video, key: Array, context: Context) -> Hop:
    """A fresh state; its noise depends on `key` and the sample's place in the batch."""
    batch, height, width = video.lr.shape[1:4]
    state = init_state(context.config, batch, height, width)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(batch))
    blank = jnp.zeros_like(video.hr[0])
    return Hop(state._replace(key=keys), blank, blank)


def burn_in(
    params: Params, hop: Hop, video: Video, count: Array, context: Context
) -> Hop:
    """The last `count` (traced) frames of the first `burn_in`, without gradient."""
    config, total = context.config, context.run.rollout.burn_in
    prepared = jax.lax.stop_gradient(prepare(params, config))

    def body(index: Array, hop: Hop) -> Hop:
        frame, start = video.lr[index], video.is_start[index]
        state, sr, _ = advance(
            prepared, at_cut(hop.state, start, context), frame, config=config
        )
        return Hop(state, video.hr[index], sr)

    return jax.lax.fori_loop(total - count, total, body, hop)


def at_cut(state: StreamState, is_start: HasPrev, context: Context) -> StreamState:
    """Streams restart at a cut, unless the model finds its cuts itself: then it meets
    them as they come.
    """
    return state if context.config.history.cut_validity else reset(state, is_start)


def corrupt(
    key: Array, state: StreamState, prev_hr: SRFrame, context: Context
) -> StreamState:
    """The fed-back frame, or the truth, with noise, gain and offset; some streams
    forget it altogether.
    """
    settings = context.run.rollout
    keys = jax.random.split(key, 5)
    batch = len(state.has_prev)
    shape = (batch, 1, 1, 1)
    sr = state.prev_sr
    if settings.feedback_truth:
        is_true = jax.random.bernoulli(
            jax.random.fold_in(key, 1), settings.feedback_truth, shape
        )
        sr = jnp.where(is_true, prev_hr, sr)
    if settings.feedback_noise:
        size = jax.random.uniform(keys[0], shape, maxval=settings.feedback_noise)
        size *= jax.random.bernoulli(keys[1], 0.5, shape)
        sr = sr + size * jax.random.normal(keys[2], sr.shape)
    if settings.feedback_gain:
        gain, offset = settings.feedback_gain * jax.random.uniform(
            keys[3], (2, batch, 1, 1, 3), minval=-1
        )
        sr = sr * (1 + gain) + offset
    forgets = jax.random.bernoulli(keys[4], settings.drop, (batch,))
    return state._replace(prev_sr=sr, has_prev=state.has_prev & ~forgets)


def hop_loss(
    params: Params, hop: Hop, frame: Video, key: Array, context: Context
) -> Result:
    """One gradient hop: the inference step on a (disturbed) state, and the losses of
    its frame.
    """
    run, config = context.run, context.config
    state = corrupt(
        key, at_cut(hop.state, frame.is_start, context), hop.prev_hr, context
    )
    prepared = prepare(params, config)
    nets = bind(prepared.params, config)
    clean = frame.lr if config.restorer is None else reduce_frames(frame.hr[None])[0]
    z = jax.lax.stop_gradient(encode(nets, frame.hr, clean))
    normal = frame_noise(state, z.shape[1:3], config)
    noise = _start(normal, z, context)
    new_state, sr, denoised = advance(
        prepared, state, frame.lr, config=config, noise=noise
    )
    terms = image_terms(context, sr, frame.hr, jax.random.fold_in(key, 2))
    if run.loss.repair:
        height, width = clean.shape[1:3]
        terms["repair"] = losses.charbonnier(
            new_state.prev_lr[:, :height, :width], clean
        )
    if run.loss.latent and run.loss.latent_form == "x0":
        terms["latent"] = losses.latent_x0(denoised.x0, z)
    elif run.loss.latent:
        terms["latent"] = losses.latent_v(
            denoised.sample, denoised.x0, z, normal, config.diffusion
        )
    if run.loss.temporal:
        has_prev = hop.state.has_prev & ~frame.is_start
        terms["temporal"] = temporal_term(prepared, sr, hop, frame, has_prev, context)
    if run.loss.flicker:
        has_prev = hop.state.has_prev & ~frame.is_start
        terms["flicker"] = flicker_term(sr, hop, frame, has_prev, key, context)
    up = upsample_bicubic(frame.lr, config.scale)
    carry = Hop(new_state, frame.hr, sr)
    return Result(weighted(terms, run.loss), terms, sr, frame.hr, up, carry)


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
    nets = bind(jax.lax.stop_gradient(prepared.params), context.config)
    if context.config.restorer is None:
        lr, prev_lr = (
            frame.lr,
            hop.state.prev_lr[:, : frame.lr.shape[1], : frame.lr.shape[2]],
        )
    else:
        # the truth does not move with the noise of its dirty copy
        prev_lr, lr = reduce_frames(jnp.stack([hop.prev_hr, frame.hr]))
    flow = true_flow(nets, lr, prev_lr, frame.hr, hop.prev_hr, context.config)
    back = true_flow(nets, prev_lr, lr, hop.prev_hr, frame.hr, context.config)
    mask = losses.occlusion_mask(flow, back) * has_prev[:, None, None, None]
    # where the flow does not explain the truth itself, it says nothing about the output
    # (Lai et al. 2018; [0, 1])
    error = jnp.square((frame.hr - warp(hop.prev_hr, flow)) / 2).sum(-1, keepdims=True)
    mask = jax.lax.stop_gradient(mask * jnp.exp(-50 * error))
    return losses.temporal_residual(
        sr, hop.prev_sr, frame.hr, hop.prev_hr, jax.lax.stop_gradient(flow), mask
    )


def flicker_term(
    sr: SRFrame, hop: Hop, frame: Video, has_prev: HasPrev, key: Array, context: Context
) -> Array:
    """The change that LPIPS sees from frame to frame, against that of the truth.

    Streams without a past count nothing.
    """
    assert context.metric is not None
    settings = context.run.loss
    images = (jnp.clip(sr, -1, 1), jnp.clip(hop.prev_sr, -1, 1), frame.hr, hop.prev_hr)
    if settings.shift:
        images = shifted(jax.random.fold_in(key, 3), images, settings.shift)
    now, before, true_now, true_before = images
    net = settings.perceptual_net
    change = lpips(context.metric, now, jax.lax.stop_gradient(before), net)
    true_change = lpips(context.metric, true_now, true_before, net)
    weight = has_prev.astype(jnp.float32)
    return jnp.mean(weight * jnp.abs(change - true_change))


def _start(normal: Array, z: Array, context: Context) -> Array:
    if context.run.rollout.start == "noise":
        return normal
    first = jax.tree.map(lambda x: x[0], step_coefficients(context.config.diffusion))
    return first.alpha * z + first.sigma * normal


def unroll(
    grad_fn: Callable[..., tuple[dict, Result, dict]],
    state: TrainState,
    frozen: Flat,
    video: Video,
    key: Array,
    context: Context,
) -> tuple[dict, Result, dict]:
    """Burn-in, then the hops: (gradient, last result, mean metrics).

    `grad_fn(state, frozen, (hop, frames, keys), context)` differentiates one segment.
    The mean over hops is what is differentiated.
    """
    settings = context.run.rollout
    count_key, first_key, hop_key = jax.random.split(key, 3)
    hop = first_hop(video, first_key, context)
    if settings.burn_in:
        count = jax.random.randint(count_key, (), 0, settings.burn_in + 1)
        params = merge(state.trained, frozen)
        hop = burn_in(params, hop, video, count, context)
    segments = settings.hops // settings.segment
    frames = jax.tree.map(lambda x: _split(x, settings), video)
    keys = jax.random.split(hop_key, (segments, settings.segment))
    body = functools.partial(
        _segment_gradient, grad_fn=grad_fn, state=state, frozen=frozen, context=context
    )
    if segments == 1:
        first = jax.tree.map(lambda x: x[0], (frames, keys))
        _, (grads, result, metrics) = body(hop, first)
        return grads, result, metrics
    return _accumulate(body, hop, (frames, keys), segments, context.run.unroll)


def _split(x: Array, settings: RolloutConfig) -> Array:
    """[frames, ...] -> [segments, hops of a segment, ...], the burn-in left out."""
    segments = settings.hops // settings.segment
    rest = x[settings.burn_in :]
    return rest.reshape(segments, settings.segment, *x.shape[1:])


def _segment_gradient(
    hop: Hop,
    xs: tuple[Video, Array],
    *,
    grad_fn: Callable[..., tuple[dict, Result, dict]],
    state: TrainState,
    frozen: Flat,
    context: Context,
) -> tuple[Hop, tuple[dict, Result, dict]]:
    grads, result, metrics = grad_fn(state, frozen, (hop, *xs), context)
    carry = jax.lax.stop_gradient(result.carry)
    return carry, (grads, result._replace(carry=()), metrics)


def hops_loss(
    params: Params, hop: Hop, frames: Video, keys: Array, context: Context
) -> Result:
    """Mean loss over the hops of a segment, differentiated through the feedback between
    them.
    """
    total: Result | None = None
    for index in range(len(keys)):
        frame = jax.tree.map(lambda x: x[index], frames)  # noqa: B023
        result = hop_loss(params, hop, frame, keys[index], context)
        hop = result.carry
        if total is not None:
            terms = {
                name: result.terms[name] + total.terms[name] for name in result.terms
            }
            result = result._replace(loss=result.loss + total.loss, terms=terms)
        total = result
    assert total is not None
    count = len(keys)
    return total._replace(
        loss=total.loss / count, terms={k: v / count for k, v in total.terms.items()}
    )


def _accumulate(
    body: Callable, hop: Hop, xs: tuple, segments: int, unroll: bool
) -> tuple[dict, Result, dict]:
    shapes = jax.eval_shape(
        lambda h, x: body(h, x)[1], hop, jax.tree.map(lambda a: a[0], xs)
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def scan_body(carry: tuple, x: tuple) -> tuple[tuple, None]:
        hop, (sum_grads, _, sum_metrics) = carry
        hop, (grads, result, metrics) = body(hop, x)

        def add(a, b):
            return jax.tree.map(lambda p, q: p + q / segments, a, b)

        return (hop, (add(sum_grads, grads), result, add(sum_metrics, metrics))), None

    (_, total), _ = jax.lax.scan(scan_body, (hop, zeros), xs, unroll=unroll)
    return total
