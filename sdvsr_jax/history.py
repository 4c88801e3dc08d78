"""The previous frame as the current one sees it: warped along the flow, with a map of
how far it can be trusted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax.config import ModelConfig
from sdvsr_jax.networks import Networks
from sdvsr_jax.ops.resize import mean_pool, repeat_edges, resize_linear
from sdvsr_jax.ops.warp import inside, warp
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import Array, Bool, Flow, HasPrev, LRFrame, Mask, PyTree, SRFrame


class History(NamedTuple):
    """The condition of guidance and TPM.

    Validity is in [0, 1]. The published model has no map: there it is [b, 1, 1, 1] at
    either size, 1 or 0.
    """

    warped: SRFrame
    """The previous SR frame; the bicubic one where validity is 0."""
    validity: Mask
    """At LR size."""
    validity_sr: Mask
    """At SR size."""
    has_prev: Bool[Array, "b 1 1 1"]
    """False in frame 0 and behind a cut."""
    flow_features: PyTree
    """Of the current frame, for the next one."""


class Motion(NamedTuple):
    """How the current frame follows from the previous one."""

    flow: Flow
    """From the current frame to the previous one, in SR pixels at SR size."""
    flow_lr: Flow
    """The same in LR pixels at LR size."""
    features: PyTree
    """Of the current frame, as the flow network takes them in the next one."""
    validity: Mask
    """How far the flow explains the LR frame, in [0, 1]; 0 without a previous frame."""


def per_image(values: Array) -> Array:
    """Returns one value per stream [b] as [b, 1, 1, 1], beside images [b, h, w, c]."""
    return values[:, None, None, None]


def align(
    nets: Networks,
    state: StreamState,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
    cut: HasPrev | None = None,
) -> History:
    """Warps the previous SR frame to the current one, which is taken as it is."""
    motion = estimate_motion(nets, state, lr, up, config)
    follows = same_scene(motion, state, config, cut)
    return warp_history(motion, state, follows, lr, up, config)


def estimate_motion(
    nets: Networks, state: StreamState, lr: LRFrame, up: SRFrame, config: ModelConfig
) -> Motion:
    """Compares the current LR frame with the one in the state.

    Without a previous frame nothing of the state (not even a NaN) reaches the result.
    """
    has_prev = per_image(state.has_prev)
    image = nets.flow.choose_frame(lr, up)
    features = nets.flow.features(image)

    def if_any(prev: Array, now: Array) -> Array:
        return jnp.where(has_prev, prev, now)

    # frame 0 is compared with itself
    prev_features = jax.tree.map(if_any, state.flow_features, features)
    flow = nets.flow(image, features, prev_features)
    flow_lr, flow_sr = flow_at_both_sizes(flow, lr, up)
    validity = estimate_validity(state, lr, flow_lr, config)
    return Motion(flow_sr, flow_lr, features, validity)


def flow_at_both_sizes(flow: Flow, lr: LRFrame, up: SRFrame) -> tuple[Flow, Flow]:
    """Returns the flow at LR size in LR pixels, and at SR size in SR pixels."""
    scale = up.shape[1] // lr.shape[1]
    size_sr = up.shape[1:3]
    if flow.shape[1:3] == size_sr:
        flow_lr = mean_pool(flow, scale) / scale
        return flow_lr, flow
    resampled = resize_linear(flow, *size_sr)
    flow_sr = scale * resampled
    # guidance and TPM both warp along it, and on a CPU each would compute it
    flow_sr = jax.lax.optimization_barrier(flow_sr)
    return flow, flow_sr


def estimate_validity(
    state: StreamState, lr: LRFrame, flow_lr: Flow, config: ModelConfig
) -> Mask:
    """Returns `Motion.validity`, a map if the config asks for one, else one number."""
    has_prev = per_image(state.has_prev)
    validity = has_prev.astype(jnp.float32)
    sigma = config.history.consistency_sigma
    if sigma > 0:
        # chosen in front of the warp: a NaN of an unused state would pass a product
        prev_lr = jnp.where(has_prev, state.prev_lr, lr)
        likeness = consistency(lr, prev_lr, flow_lr, sigma)
        validity = validity * likeness
    return validity


def consistency(lr: LRFrame, prev_lr: LRFrame, flow: Flow, sigma: float) -> Mask:
    """Returns exp(-(e / sigma)**2), 0 where the flow points outside the frame.

    e is the photometric error of the warped LR frame, its squares averaged over
    channels and 3x3 pixels; frames are in [-1, 1], ``sigma`` in the same unit, ``flow``
    in LR pixels.
    """
    warped = warp(prev_lr, flow)
    squares = jnp.square(lr - warped)
    error = squares.mean(-1, keepdims=True)
    # read nine times, and without a barrier warped as often
    padded = jax.lax.optimization_barrier(error)
    for axis in (1, 2):
        padded = repeat_edges(padded, axis, before=1, after=1)
    _, height, width, _ = error.shape
    total = jnp.zeros_like(error)
    # shifted sums: exporters make a convolution in four dimensions of a reduction over
    # windows, and OpenVINO refuses it (docs/log.md)
    for top in range(3):
        bottom = top + height
        rows = padded[:, top:bottom]
        for left in range(3):
            right = left + width
            total += rows[:, :, left:right]
    local = total / 9
    exponent = -local / sigma**2
    likeness = jnp.exp(exponent)
    return likeness * inside(flow)


def same_scene(
    motion: Motion, state: StreamState, config: ModelConfig, cut: HasPrev | None
) -> HasPrev:
    """Whether there is a previous frame, and of the same scene.

    ``cut`` replaces the decision from the mean validity.
    """
    threshold = config.history.cut_validity
    if cut is None and threshold > 0:
        mean = motion.validity.mean((1, 2, 3))
        cut = mean < threshold
    if cut is None:
        return state.has_prev
    return state.has_prev & ~cut


def warp_history(
    motion: Motion,
    state: StreamState,
    follows: HasPrev,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
) -> History:
    """Warps the previous SR frame, and blends it with the bicubic one by its validity;
    ``follows`` is that of `same_scene`.
    """
    has_prev = per_image(state.has_prev)
    has_history = per_image(follows)
    validity = jnp.where(has_history, motion.validity, 0.0)
    prev_sr = jnp.where(has_prev, state.prev_sr, up)
    warped = warp(prev_sr, motion.flow, stretch=config.quirks.warp_stretch)
    validity_sr = validity
    # barriers, because guidance and TPM read these images, and on a CPU each would
    # compute them
    if not config.quirks.bare_first_frame:
        batch, height, width, _ = lr.shape
        map_shape = (batch, height, width, 1)
        size_sr = up.shape[1:3]
        validity = jnp.broadcast_to(validity, map_shape)
        validity_sr = resize_linear(validity, *size_sr)
        validity_sr = jax.lax.optimization_barrier(validity_sr)
        from_before = validity_sr * warped
        from_bicubic = (1 - validity_sr) * up
        warped = from_before + from_bicubic
    warped = jax.lax.optimization_barrier(warped)
    return History(
        warped=warped,
        validity=validity,
        validity_sr=validity_sr,
        has_prev=has_history,
        flow_features=motion.features,
    )
