"""Does quality change with the age of a stream? The same frames are judged young and
old.

A clip is played forwards and backwards for ever, so that frames 5-15 come again at a
known age with the same content and the same motion before them; a frozen frame is fed
300 times.
"""

import math

import jax
import numpy as np

from infer.evaluation.clips import ping_pong, to_float
from infer.evaluation.measure import Judge
from infer.evaluation.methods import Model, Upscalers
from sdvsr_jax.metrics.lpips import lpips

YOUNG = range(5, 16)
OLD_AGE = 85
FROZEN_FRAMES = 300
_lpips = jax.jit(lpips, static_argnames="net")


def old_frames(num_frames: int) -> range:
    """Frames 5-15 when they return in the same direction, 85 frames later or more."""
    period = 2 * (num_frames - 1)
    # after whole periods content and direction are the same
    num_periods = math.ceil(OLD_AGE / period)
    start = YOUNG.start + period * num_periods
    return range(start, start + len(YOUNG))


def drift(
    hr: np.ndarray,
    lr: np.ndarray,
    model: Model,
    judge: Judge,
    upscale: Upscalers | None = None,
) -> dict[str, float]:
    """LPIPS of frames 5-15 young and old, moving and frozen, and the change in %.

    Args:
      hr: uint8 [f, H, W, 3], at least 17 frames.
      lr: uint8 [f, h, w, 3], the input.
      upscale: holds the programs of models that were used before.

    Raises ValueError for a shorter clip.
    """
    num_frames = len(lr)
    least = YOUNG.stop + 1
    if num_frames < least:
        raise ValueError(
            f"{num_frames} frames: the drift report needs at least {least}"
        )
    if upscale is None:
        upscale = Upscalers()
    old = old_frames(num_frames)
    order = ping_pong(num_frames, old.stop)
    sr = upscale(lr[order], model)
    report = _compare_ages("moving", hr[order], sr, old, judge)

    still = np.zeros(FROZEN_FRAMES, int)
    end = range(FROZEN_FRAMES - len(YOUNG), FROZEN_FRAMES)
    frozen_sr = upscale(lr[still], model)
    frozen = _compare_ages("frozen", hr[still], frozen_sr, end, judge)
    return report | frozen


def _compare_ages(
    name: str, hr: np.ndarray, sr: np.ndarray, old: range, judge: Judge
) -> dict[str, float]:
    young_mean = _mean_distance(hr, sr, YOUNG, judge)
    old_mean = _mean_distance(hr, sr, old, judge)
    change = 100 * (old_mean / young_mean - 1)
    return {
        f"{name}, frames {_span(YOUNG)}": young_mean,
        f"{name}, frames {_span(old)}": old_mean,
        f"{name}, change %": change,
    }


def _span(frames: range) -> str:
    return f"{frames.start}-{frames.stop - 1}"


def _mean_distance(
    hr: np.ndarray, sr: np.ndarray, frames: range, judge: Judge
) -> float:
    weights = judge.weights["lpips"]
    distances = []
    for frame in frames:
        current = slice(frame, frame + 1)
        x = to_float(sr[current])
        y = to_float(hr[current])
        distance = _lpips(weights, x, y, net=judge.net)
        distances.append(distance[0])
    return float(np.mean(distances))
