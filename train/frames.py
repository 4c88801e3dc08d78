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
    # a packed file of HR windows alone: the device reduces them
    low = reduce_frames(high) if lr is None else _to_frames(lr)
    num_frames, batch, *_ = high.shape
    is_start = jnp.zeros((num_frames, batch), bool)
    # a window is a piece of one scene, and nothing is known of what was before it
    is_start = is_start.at[0].set(True)
    return Video(low, high, is_start)


def video_of(batch: Batch) -> Video:
    """Returns the frames of a loader's batch."""
    hr = jnp.asarray(batch.hr)
    lr = None if batch.lr is None else jnp.asarray(batch.lr)
    return to_video(hr, lr)


def _to_frames(windows: Array) -> Frames:
    # the scan of a rollout walks along the first axis
    frames = jnp.swapaxes(windows, 0, 1)
    levels = frames.astype(jnp.float32)
    return levels / 127.5 - 1


def reduce_frames(hr: Frames) -> Frames:
    """[f,b,H,W,3] -> [f,b,h,w,3], rounded to 8 bits as a file would be."""
    frames, batch, *size = hr.shape
    pictures = hr.reshape(-1, *size)
    small = downsample_bicubic(pictures, SCALE)
    levels = jnp.round((small + 1) * 127.5)
    # bicubic filters ring beyond the range
    levels = jnp.clip(levels, 0, 255)
    rounded = levels / 127.5 - 1
    _, *small_size = small.shape
    return rounded.reshape(frames, batch, *small_size)


def splice(key: RandomKey, video: Video, probability: float) -> Video:
    """Some windows cut, at a random frame, to the rest of the batch's next window."""
    frames, batch = video.is_start.shape
    if not probability or batch < 2 or frames < 2:
        return video
    when_key, pick_key = jax.random.split(key)
    at = jax.random.randint(when_key, (batch,), 1, frames)
    has_cut = jax.random.bernoulli(pick_key, probability, (batch,))
    times = jnp.arange(frames)
    time = times[:, None]
    is_next = has_cut & (time >= at)
    is_cut = has_cut & (time == at)
    takes_next = is_next[..., None, None, None]

    def cut(x: Array) -> Array:
        next_window = jnp.roll(x, -1, axis=1)
        return jnp.where(takes_next, next_window, x)

    lr = cut(video.lr)
    hr = cut(video.hr)
    is_start = video.is_start | is_cut
    return Video(lr, hr, is_start)
