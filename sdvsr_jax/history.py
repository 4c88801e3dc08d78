"""The previous frame as the current one sees it: warped along the flow, and how far it
can be trusted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax.config import FlowNetConfig, ModelConfig
from sdvsr_jax.models.flow import raft
from sdvsr_jax.models.restorer import FOLD, Repair
from sdvsr_jax.networks import Networks
from sdvsr_jax.ops.resize import mean_pool, pad_edges, resize_linear
from sdvsr_jax.ops.warp import inside, warp
from sdvsr_jax.types import (
    Array,
    Bool,
    Degree,
    Features,
    Flow,
    HasPrev,
    LRFrame,
    Mask,
    PyTree,
    SRFrame,
)


class History(NamedTuple):
    """``warped`` is the condition of ARTG and TPM; its validity in [0, 1] at LR size
    and (``trust``) at SR size.

    The published model has no map: there validity is [b, 1, 1, 1], 1 or 0.
    """

    warped: SRFrame
    validity: Mask
    trust: Mask
    has_prev: Bool[Array, "b 1 1 1"]
    flow_features: PyTree


def align(
    nets: Networks,
    prev_lr: LRFrame,
    prev_sr: SRFrame,
    prev_features: PyTree,
    has_prev: HasPrev,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
    cut: HasPrev | None = None,
) -> History:
    """Where ``has_prev`` is False nothing of the old frame (not even a NaN) reaches the
    result.

    ``cut`` replaces the decision from the mean validity whether this frame begins a new
    scene.
    """
    seen = look_back(nets, prev_lr, prev_features, has_prev, lr, up, config)
    return warp_history(
        seen,
        prev_sr,
        has_prev,
        scene_holds(seen, has_prev, config, cut),
        lr,
        up,
        config,
    )


def scene_holds(
    seen: "LookBack", has_prev: HasPrev, config: ModelConfig, cut: HasPrev | None
) -> HasPrev:
    """Whether there is a previous frame, and of the same scene."""
    if cut is None and config.history.cut_validity > 0:
        cut = seen.validity.mean((1, 2, 3)) < config.history.cut_validity
    return has_prev if cut is None else has_prev & ~cut


class Restored(NamedTuple):
    """The frame as everything behind the restorer sees it, and what it was made of."""

    lr: LRFrame
    repair: Repair


def restore(
    nets: Networks,
    seen: "LookBack",
    prev_lr: LRFrame,
    memory: Features,
    has_prev: HasPrev,
    degree: Degree,
    lr: LRFrame,
    holds: HasPrev,
) -> Restored:
    """lr + degree * residual, the degree per pixel where it is negative (auto). At 0
    the very same frame.
    """
    assert nets.restorer is not None
    has = holds[:, None, None, None]
    prev_lr = jnp.where(has, prev_lr, lr)
    validity = jnp.broadcast_to(jnp.where(has, seen.validity, 0), (*lr.shape[:3], 1))
    previous = jnp.where(has, warp(prev_lr, seen.flow_lr), lr)
    half = mean_pool(seen.flow_lr, FOLD) / FOLD
    memory = jnp.where(has, warp(jnp.where(has, memory, 0), half), 0)
    repair = nets.restorer(lr, previous, memory, validity)
    given = degree[:, None, None, None]
    amount = jnp.where(given < 0, repair.amount, given)
    return Restored(jnp.where(given == 0, lr, lr + amount * repair.residual), repair)


def repaired_validity(
    seen: "LookBack",
    prev_lr: LRFrame,
    has_prev: HasPrev,
    lr: LRFrame,
    config: ModelConfig,
) -> "LookBack":
    """The validity anew, of the repaired frame: noise and block edges say nothing
    against the history.
    """
    has = has_prev[:, None, None, None]
    validity = has.astype(jnp.float32)
    if config.history.consistency_sigma > 0:
        prev_lr = jnp.where(has, prev_lr, lr)
        validity = validity * consistency(
            lr, prev_lr, seen.flow_lr, config.history.consistency_sigma
        )
    return seen._replace(validity=validity)


def warp_history(
    seen: "LookBack",
    prev_sr: SRFrame,
    has_prev: HasPrev,
    holds: HasPrev,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
) -> History:
    """The previous SR frame along the flow, blended with the bicubic one by its
    validity.
    """
    has = holds[:, None, None, None]
    # barriers here and behind the flow: guidance and TPM read these images, and on a
    # CPU each would compute them
    validity = jnp.where(has, seen.validity, 0)
    prev_sr = jnp.where(has_prev[:, None, None, None], prev_sr, up)
    warped = warp(prev_sr, seen.flow, stretch=config.quirks.warp_stretch)
    trust = validity
    if not config.quirks.bare_first_frame:
        validity = jnp.broadcast_to(validity, (*lr.shape[:3], 1))
        trust = jax.lax.optimization_barrier(resize_linear(validity, *up.shape[1:3]))
        warped = trust * warped + (1 - trust) * up
    warped = jax.lax.optimization_barrier(warped)
    return History(warped, validity, trust, has, seen.flow_features)


class LookBack(NamedTuple):
    """What two LR frames have in common: flow current -> previous at SR size, and its
    validity as in `History`.
    """

    flow: Flow
    validity: Mask
    flow_features: PyTree
    flow_lr: Flow


def look_back(
    nets: Networks,
    prev_lr: LRFrame,
    prev_features: PyTree,
    has_prev: HasPrev,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
) -> LookBack:
    """Compare two LR frames; validity is 0 where there is no previous one."""
    has = has_prev[:, None, None, None]
    features = nets.flow.features(flow_input(lr, up, config))
    prev_lr = jnp.where(has, prev_lr, lr)
    prev_features = jax.tree.map(
        lambda old, new: jnp.where(has, old, new), prev_features, features
    )
    flow_lr, flow = _flows(nets, features, prev_features, lr, up, config)
    validity = has.astype(jnp.float32)
    if config.history.consistency_sigma > 0:
        validity = validity * consistency(
            lr, prev_lr, flow_lr, config.history.consistency_sigma
        )
    return LookBack(flow, validity, features, flow_lr)


def consistency(lr: LRFrame, prev_lr: LRFrame, flow: Flow, sigma: float) -> Mask:
    """exp(-(e / sigma)**2) with e the photometric error of the warped LR frame over 3x3
    pixels; 0 outside.
    """
    error = jnp.square(lr - warp(prev_lr, flow)).mean(-1, keepdims=True)
    padded = jnp.pad(error, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    local = (
        jax.lax.reduce_window(
            padded, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "valid"
        )
        / 9
    )
    return jnp.exp(-local / sigma**2) * inside(flow)


def flow_input(lr: LRFrame, up: SRFrame, config: ModelConfig) -> Array:
    """The frame that the flow network looks at."""
    if isinstance(config.flow, FlowNetConfig):
        return lr
    if config.flow.resolution == "sr":
        return up
    return pad_edges(
        lr,
        *(
            max(-(-size // raft.STRIDE) * raft.STRIDE, raft.MIN_SIZE)
            for size in lr.shape[1:3]
        ),
    )


def _flows(
    nets: Networks,
    features: PyTree,
    prev_features: PyTree,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
) -> tuple[Flow, Flow]:
    """Flow current -> previous in LR pixels at LR size, and in SR pixels at SR size."""
    flow = nets.flow(flow_input(lr, up, config), features, prev_features)
    if not isinstance(config.flow, FlowNetConfig) and config.flow.resolution == "sr":
        return mean_pool(flow, config.scale) / config.scale, flow
    flow = flow[:, : lr.shape[1], : lr.shape[2]]
    return flow, jax.lax.optimization_barrier(
        config.scale * resize_linear(flow, *up.shape[1:3])
    )
