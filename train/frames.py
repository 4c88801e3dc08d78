"""uint8 batches of the loader to float frames on the device; cuts are spliced there."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import UInt8

from sdvsr_jax.ops.resize import downsample_bicubic
from sdvsr_jax.types import AnyArray, Array, Bool, Float, Frames, Key
from train.data.batch import SCALE, Batch

HRWindows = UInt8[AnyArray, "b f H W 3"]
LRWindows = UInt8[AnyArray, "b f h w 3"]
RandomKey = Key[Array, ""]
Scalar = Float[Array, ""]


class Video(NamedTuple):
    """Time first: `lr` [f,b,h,w,3] and `hr` [f,b,H,W,3] in [-1, 1]; `is_start` [f,b]: a
    new scene begins here.
    """

    lr: Frames
    hr: Frames
    is_start: Bool[Array, "f b"]


def to_video(hr: HRWindows, lr: LRWindows | None) -> Video:
    """uint8 [b,f,H,W,3] (and [b,f,h,w,3]; None: 8-bit antialiased bicubic made here) ->
    Video.
    """
    high = _to_frames(hr)
    low = reduce_frames(high) if lr is None else _to_frames(lr)
    starts = jnp.zeros(high.shape[:2], bool)
    return Video(low, high, starts.at[0].set(True))


def video_of(batch: Batch) -> Video:
    """Returns the frames of a loader's batch."""
    lr = None if batch.lr is None else jnp.asarray(batch.lr)
    return to_video(jnp.asarray(batch.hr), lr)


def _to_frames(windows: Array) -> Frames:
    frames = jnp.swapaxes(windows, 0, 1)
    return frames.astype(jnp.float32) / 127.5 - 1


def reduce_frames(hr: Frames) -> Frames:
    """[f,b,H,W,3] -> [f,b,h,w,3], rounded to 8 bits as a file would be."""
    frames, batch, *size = hr.shape
    small = downsample_bicubic(hr.reshape(-1, *size), SCALE)
    levels = jnp.round((small + 1) * 127.5)
    levels = jnp.clip(levels, 0, 255)
    rounded = levels / 127.5 - 1
    return rounded.reshape(frames, batch, *small.shape[1:])


def splice(key: RandomKey, video: Video, probability: float) -> Video:
    """Some windows cut, at a random frame, to the rest of the batch's next window."""
    frames, batch = video.is_start.shape
    if not probability or batch < 2 or frames < 2:
        return video
    when_key, pick_key = jax.random.split(key)
    at = jax.random.randint(when_key, (batch,), 1, frames)
    picked = jax.random.bernoulli(pick_key, probability, (batch,))
    time = jnp.arange(frames)[:, None]
    is_next = picked & (time >= at)
    is_cut = picked & (time == at)

    def cut(x: Array) -> Array:
        next_window = jnp.roll(x, -1, axis=1)
        return jnp.where(is_next[..., None, None, None], next_window, x)

    return Video(cut(video.lr), cut(video.hr), video.is_start | is_cut)
