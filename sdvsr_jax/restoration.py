"""The LR frame repaired with the help of the previous one, where the model has a
restorer.
"""

from typing import NamedTuple

import jax.numpy as jnp

from sdvsr_jax.config import ModelConfig
from sdvsr_jax.history import Motion, estimate_validity, per_image
from sdvsr_jax.models.restorer import FOLD, Repair
from sdvsr_jax.networks import Networks
from sdvsr_jax.ops.resize import mean_pool
from sdvsr_jax.ops.warp import warp
from sdvsr_jax.state import StreamState
from sdvsr_jax.types import HasPrev, LRFrame, SRFrame


class Restored(NamedTuple):
    """The frame as everything behind the restorer sees it, and the repair in it."""

    lr: LRFrame
    repair: Repair


def restore(
    nets: Networks,
    motion: Motion,
    state: StreamState,
    lr: LRFrame,
    follows: HasPrev,
) -> Restored:
    """Returns lr + degree * residual; at degree 0 the very same frame.

    The degree is ``state.restore``, or per pixel the network's own where that is
    negative (`state.AUTO`). Where ``follows`` is False nothing of the state is read.
    """
    assert nets.restorer is not None
    has_prev = per_image(follows)
    prev_lr = jnp.where(has_prev, state.prev_lr, lr)
    batch, height, width, _ = lr.shape
    map_shape = (batch, height, width, 1)
    validity = jnp.where(has_prev, motion.validity, 0.0)
    validity = jnp.broadcast_to(validity, map_shape)
    previous = warp(prev_lr, motion.flow_lr)
    previous = jnp.where(has_prev, previous, lr)
    # the memory has half the LR size, and its pixels are twice as large
    half_flow = mean_pool(motion.flow_lr, FOLD) / FOLD
    # before and behind the warp: a NaN of an unused state would pass its weights
    memory = jnp.where(has_prev, state.memory, 0.0)
    memory = warp(memory, half_flow)
    memory = jnp.where(has_prev, memory, 0.0)
    repair = nets.restorer(lr, previous, memory, validity)
    degree = per_image(state.restore)
    # in the state and not in the config: one program serves all degrees
    is_auto = degree < 0
    amount = jnp.where(is_auto, repair.amount, degree)
    change = amount * repair.residual
    repaired = lr + change
    # lr + 0 * residual would be another frame where the residual is not finite
    is_off = degree == 0
    restored = jnp.where(is_off, lr, repaired)
    return Restored(restored, repair)


def motion_of_repaired(
    nets: Networks,
    motion: Motion,
    state: StreamState,
    lr: LRFrame,
    up: SRFrame,
    config: ModelConfig,
) -> Motion:
    """Returns the motion with validity and features of the repaired frame: noise and
    block edges say nothing against the history.
    """
    image = nets.flow.choose_frame(lr, up)
    validity = estimate_validity(state, lr, motion.flow_lr, config)
    features = nets.flow.features(image)
    return motion._replace(validity=validity, features=features)
