"""uint8 batches of the loader -> float frames on the device, and what is done to them
there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sdvsr_jax.ops.resize import downsample_bicubic
from sdvsr_jax.types import Array, Frames
from train.data.batch import SCALE


class Video(NamedTuple):
    """Time first: `lr` [f,b,h,w,3] and `hr` [f,b,H,W,3] in [-1, 1]; `is_start` [f,b]: a
    new scene begins here.
    """

    lr: Frames
    hr: Frames
    is_start: Array


def to_video(hr: Array, lr: Array | None) -> Video:
    """uint8 [b,f,H,W,3] (and [b,f,h,w,3]; None: 8-bit antialiased bicubic made here) ->
    Video.
    """
    frames = jnp.swapaxes(hr, 0, 1)
    high = frames.astype(jnp.float32) / 127.5 - 1
    low = (
        reduce_frames(high)
        if lr is None
        else jnp.swapaxes(lr, 0, 1).astype(jnp.float32) / 127.5 - 1
    )
    starts = jnp.zeros(high.shape[:2], bool).at[0].set(True)
    return Video(low, high, starts)


def reduce_frames(hr: Frames) -> Frames:
    """[f,b,H,W,3] -> [f,b,h,w,3], rounded to 8 bits as a file would be."""
    small = downsample_bicubic(hr.reshape(-1, *hr.shape[2:]), SCALE)
    levels = jnp.clip(jnp.round((small + 1) * 127.5), 0, 255)
    return (levels / 127.5 - 1).reshape(*hr.shape[:2], *small.shape[1:])


def splice(key: Array, video: Video, probability: float) -> Video:
    """Some windows cut, at a random frame, to the rest of the batch's next window."""
    frames, batch = video.is_start.shape
    if not probability or batch < 2 or frames < 2:
        return video
    when_key, pick_key = jax.random.split(key)
    at = jax.random.randint(when_key, (batch,), 1, frames)
    picked = jax.random.bernoulli(pick_key, probability, (batch,))
    time = jnp.arange(frames)[:, None]
    other = picked & (time >= at)

    def cut(x: Array) -> Array:
        return jnp.where(other[..., None, None, None], jnp.roll(x, -1, axis=1), x)

    return Video(cut(video.lr), cut(video.hr), video.is_start | (picked & (time == at)))
