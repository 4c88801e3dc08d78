"""Does quality change with the age of a stream? The same frames are judged young and
old.

A clip is played forwards and backwards for ever, so that frames 5-15 come again at a
known age with the same content and the same motion before them; a frozen frame is fed
300 times.
"""

import functools

import jax
import numpy as np

from infer.evaluation.clips import Clip, to_float
from infer.evaluation.measure import Judge
from infer.evaluation.methods import Model, upscale
from sdvsr_jax.metrics.lpips import lpips

YOUNG = range(5, 16)
OLD_AGE = 85
FROZEN_FRAMES = 300


def ping_pong(num_frames: int, length: int) -> np.ndarray:
    """0, 1, ... n-1, n-2, ... 1, 0, 1, ...: frame numbers of a clip played to and fro."""
    period = max(2 * (num_frames - 1), 1)
    position = np.arange(length) % period
    return np.minimum(position, period - position)


def old_frames(num_frames: int) -> range:
    """The first return of frames 5-15, in the same direction, at least 85 frames later."""
    period = 2 * (num_frames - 1)
    start = YOUNG.start + period * -(-OLD_AGE // period)
    return range(start, start + len(YOUNG))


def drift(clip: Clip, model: Model, judge: Judge) -> dict[str, float]:
    """LPIPS against HR of frames 5-15 young and old, moving and frozen, and the change
    in per cent.

    Raises ValueError for a clip without ground truth or of fewer than 17 frames.
    """
    if clip.hr is None or len(clip.lr) <= YOUNG.stop:
        raise ValueError(
            f"{clip.name}: the drift report needs HR and at least {YOUNG.stop + 1} frames"
        )
    old = old_frames(len(clip.lr))
    order = ping_pong(len(clip.lr), old.stop)
    moving = _distances(
        clip.hr, upscale(clip.lr[order], model), order, judge, [*YOUNG, *old]
    )
    frozen_order = np.zeros(FROZEN_FRAMES, int)
    end = range(FROZEN_FRAMES - len(YOUNG), FROZEN_FRAMES)
    frozen = _distances(
        clip.hr,
        upscale(clip.lr[frozen_order], model),
        frozen_order,
        judge,
        [*YOUNG, *end],
    )
    report = {}
    for name, values, age in (("moving", moving, old), ("frozen", frozen, end)):
        young, aged = np.split(values, 2)
        report |= {
            f"{name}, frames {YOUNG.start}-{YOUNG.stop - 1}": float(young.mean()),
            f"{name}, frames {age.start}-{age.stop - 1}": float(aged.mean()),
            f"{name}, change %": float(100 * (aged.mean() / young.mean() - 1)),
        }
    return report


def _distances(
    hr: np.ndarray, sr: np.ndarray, order: np.ndarray, judge: Judge, frames: list[int]
) -> np.ndarray:
    distance = jax.jit(functools.partial(lpips, net=judge.net))
    found = [
        distance(
            judge.weights["lpips"],
            to_float(sr[i : i + 1]),
            to_float(hr[order[i]][None]),
        )
        for i in frames
    ]
    return np.concatenate([np.asarray(value) for value in found])
