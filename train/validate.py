"""Validation on fixed windows: the stage's own loss, and the model as it is used - a
stream from a fresh state.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from configs import DataConfig, RunConfig
from sdvsr_jax.metrics.lpips import lpips
from sdvsr_jax.ops.resize import upsample_bicubic
from sdvsr_jax.prepare import prepare
from sdvsr_jax.stream import init_state, step
from sdvsr_jax.types import Array, LRFrame, Params, Prepared, SRFrame
from train.data.batch import Picture, to_uint8
from train.data.source import open_batches
from train.frames import RandomKey, Video, video_of
from train.objectives import Context, Result
from train.rollout import burn_in, first_hop, hop_loss
from train.step import OBJECTIVES


class Drift(NamedTuple):
    """Per frame of a long window: PSNR and LPIPS of the stream, and PSNR of bicubic.
    Each [frames].
    """

    psnr: Float[np.ndarray, " f"]
    lpips: Float[np.ndarray, " f"]
    bicubic_psnr: Float[np.ndarray, " f"]
    sample: Picture
    """uint8[H, 3W, 3]: bicubic, ours, truth of the last frame."""


def validation_config(run: RunConfig) -> DataConfig:
    """The held-out split of a dataset, or `NAME.validation.npy` beside a packed file;
    else training data.
    """
    data = replace(
        run.data,
        batch_size=run.validation_windows,
        flip=0.0,
        reverse=0.0,
        static=0.0,
        num_workers=0,
    )
    if not data.path.endswith(".npy"):
        return replace(data, split="validation")
    held_out = Path(data.path).with_suffix(".validation.npy")
    return replace(data, path=str(held_out)) if held_out.exists() else data


def first_video(data: DataConfig, frames: int) -> Video:
    """The first batch of windows of `frames`, always the same."""
    data = replace(data, frames=frames)
    batches = open_batches(data, seed=0)
    try:
        batch = next(batches)
        return video_of(batch)
    finally:
        batches.close()


def ping_pong(video: Video, frames: int) -> Video:
    """Windows played to and fro until they are `frames` long."""
    count = len(video.lr)
    period = max(2 * count - 2, 1)
    index = np.arange(frames) % period
    is_way_back = index >= count
    index = np.where(is_way_back, period - index, index)
    lr = video.lr[index]
    hr = video.hr[index]
    return Video(lr, hr, video.is_start[index])


@functools.partial(jax.jit, static_argnums=(3, 4))
def _stage_loss(
    params: Params, metric: Params | None, video: Video, run: RunConfig, config: Any
) -> dict[str, Array]:
    context = Context(run, config, metric)
    key = jax.random.key(0)
    if run.objective == "rollout":
        result = _last_hop(params, video, key, context)
    else:
        objective = OBJECTIVES[run.objective]
        result = objective(params, video, key, context)
    picture = jnp.clip(result.sr, -1, 1)
    psnr = _psnr(picture, result.hr)
    return {"loss": result.loss, **result.terms, "psnr": psnr}


def _last_hop(params: Params, video: Video, key: RandomKey, context: Context) -> Result:
    """The loss of the window's last frame, behind all the others."""
    before = len(video.lr) - 1
    rollout = replace(context.run.rollout, burn_in=before)
    run = replace(context.run, rollout=rollout)
    settled = context._replace(run=run)
    hop = first_hop(video, key, context)
    hop = burn_in(params, hop, video, jnp.asarray(before), settled)
    last = Video(video.lr[-1], video.hr[-1], video.is_start[-1])
    return hop_loss(params, hop, last, key, context)


def _psnr(x: SRFrame, y: SRFrame) -> Array:
    """Mean over the batch, dB, of images in [-1, 1]."""
    square = (x - y) ** 2
    # of images in [0, 1], whose peak is 1
    error = jnp.mean(square, (1, 2, 3)) / 4
    # at most 100 dB, where both are equal
    psnr = -10 * jnp.log10(error + 1e-10)
    return jnp.mean(psnr)


def stage_loss(params: Params, video: Video, context: Context) -> dict[str, float]:
    """Loss, its terms and the PSNR of its picture, with a fixed key; of a rollout, the
    window's last frame.
    """
    # a number that moves by chance would hide what training moves
    quiet = replace(
        context.run.rollout,
        drop=0.0,
        cut=0.0,
        feedback_noise=0.0,
        feedback_gain=0.0,
        feedback_truth=0.0,
    )
    run = replace(context.run, rollout=quiet)
    numbers = _stage_loss(params, context.metric, video, run, context.config)
    return {name: float(value) for name, value in numbers.items()}


@functools.partial(jax.jit, static_argnums=5)
def _stream_frame(
    prepared: Prepared,
    metric: Params,
    state: Any,
    lr: LRFrame,
    hr: SRFrame,
    config: Any,
) -> tuple:
    state, sr = step(prepared, state, lr, config=config)
    up = upsample_bicubic(lr, config.scale)
    # as they would be written
    up = jnp.clip(up, -1, 1)
    sr = jnp.clip(sr, -1, 1)
    distance = lpips(metric, sr, hr).mean()
    psnr = _psnr(sr, hr)
    bicubic_psnr = _psnr(up, hr)
    row = jnp.stack([psnr, distance, bicubic_psnr])
    pictures = jnp.stack([up[0], sr[0], hr[0]])
    return state, row, pictures


def drift(params: Params, video: Video, context: Context, metric: Params) -> Drift:
    """Stream the windows from a fresh state and measure every frame (metric: LPIPS
    squeeze parameters).
    """
    config = context.config
    prepared = prepare(params, config)
    _, batch, height, width, _ = video.lr.shape
    state = init_state(config, batch, height, width)
    rows = []
    pictures = None
    for lr, hr in zip(video.lr, video.hr):
        state, row, pictures = _stream_frame(prepared, metric, state, lr, hr, config)
        rows.append(np.asarray(row))
    psnr, distance, bicubic = np.array(rows).T
    up, sr, hr = np.asarray(pictures)
    side_by_side = np.concatenate([up, sr, hr], 1)
    levels = (side_by_side + 1) * 127.5
    sample = to_uint8(levels)
    return Drift(psnr, distance, bicubic, sample)


def summary(curve: Drift) -> dict[str, float]:
    """First frame, mean, and the slope in dB (and LPIPS) per 100 frames of the frames
    after the fifth.
    """
    gain = curve.psnr - curve.bicubic_psnr
    return {
        "psnr_first": float(curve.psnr[0]),
        "psnr": float(curve.psnr.mean()),
        "psnr_over_bicubic": float(gain.mean()),
        "psnr_drift": _slope(gain),
        "lpips": float(curve.lpips.mean()),
        "lpips_drift": _slope(curve.lpips),
    }


def _slope(values: np.ndarray) -> float:
    # a line through fewer points would be noise
    if len(values) <= 8:
        return 0.0
    # the first frames are worse for want of a past, which is no drift
    frames = np.arange(len(values))
    per_frame, _ = np.polyfit(frames[5:], values[5:], 1)
    return float(per_frame * 100)


def windows(run: RunConfig) -> Iterator[tuple[str, Video]]:
    """('loss', window of the stage) and ('drift', window of at most 16 frames, played
    to and fro).
    """
    data = validation_config(run)
    yield "loss", first_video(data, run.window)
    available = 16
    if data.path.endswith(".npy"):
        # a packed window has the length that it was packed with
        packed = np.load(data.path, mmap_mode="r")
        available = packed.shape[1]
    # four streams are enough for a curve, and drift costs a step per frame
    num_streams = min(4, data.batch_size)
    few = replace(data, batch_size=num_streams)
    length = min(available, run.drift_frames)
    video = first_video(few, length)
    yield "drift", ping_pong(video, run.drift_frames)
