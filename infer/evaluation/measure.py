"""Every metric of every frame of every row of one clip."""

import functools
import math
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from infer.evaluation.clips import Clip, to_float
from sdvsr_jax.metrics.agreement import colour_shift, lr_consistency
from sdvsr_jax.metrics.dists import dists, load_dists
from sdvsr_jax.metrics.fidelity import psnr_y, ssim_y
from sdvsr_jax.metrics.flow import lucas_kanade
from sdvsr_jax.metrics.lpips import lpips
from sdvsr_jax.metrics.lpips_weights import load_lpips
from sdvsr_jax.metrics.niqe import niqe
from sdvsr_jax.metrics.temporal import tlp, tof, visible, warping_error
from sdvsr_jax.types import Array, Flow, Mask, Params


class Metric(NamedTuple):
    """A column. `factor` is applied to the raw value, as `heading` says."""

    heading: str
    higher_is_better: bool
    decimals: int
    factor: float = 1.0


METRICS = {
    "psnr_y": Metric("PSNR-Y dB", True, 2),
    "ssim_y": Metric("SSIM-Y", True, 4),
    "lpips": Metric("LPIPS", False, 4),
    "dists": Metric("DISTS", False, 4),
    "niqe": Metric("NIQE", False, 2),
    "tlp": Metric("tLP 1e-3", False, 2, 1e3),
    "tof": Metric("tOF px", False, 3),
    "warping": Metric("E*warp 1e-3", False, 3, 1e3),
    "lr_psnr": Metric("LR dB", True, 2),
    "colour": Metric("colour /255", False, 3),
}

PerFrame = dict[str, np.ndarray]
"""Metric name -> one value per frame; NaN where it is not defined (temporal metrics of
frame 0).
"""


class Motion(NamedTuple):
    """Of the ground truth: flow current -> previous, and where it can be followed."""

    flow: Flow
    mask: Mask


class Judge(NamedTuple):
    """Weights and choices of the metrics; `weights` has 'lpips' and, if given, 'dists'."""

    weights: Params
    net: str = "squeeze"


def make_judge(
    net: str, lpips_weights: Path | None, dists_weights: Path | None
) -> Judge:
    """Load what the metrics need; LPIPS has shipped weights for 'squeeze' only, DISTS
    none.
    """
    weights = {"lpips": load_lpips(lpips_weights, net)}
    return Judge(
        weights | ({"dists": load_dists(dists_weights)} if dists_weights else {}), net
    )


def measure(
    clip: Clip, rows: dict[str, np.ndarray], scale: int, judge: Judge
) -> dict[str, PerFrame]:
    """`rows`: name -> uint8 SR [f, H, W, 3], "bicubic" among them.

    With ground truth a row "HR" shows what it scores itself where that says something.
    Without it only the metrics that need none are returned; the motion is then that of
    the bicubic row.
    """
    truth = {} if clip.hr is None else {"HR": clip.hr}
    values: dict[str, list[dict[str, float]]] = {name: [] for name in rows | truth}
    # on a GPU float32 convolutions would be rounded to TF32, which moves LPIPS in the
    # third digit
    with jax.default_matmul_precision("highest"):
        for frame in range(len(clip.lr)):
            lr = to_float(clip.lr[frame : frame + 1])
            images = {
                n: to_float(row[max(frame - 1, 0) : frame + 1])
                for n, row in (rows | truth).items()
            }
            for name, found in _measure_frame(judge, images, lr, scale).items():
                numbers = {
                    key: float(value[0]) * METRICS[key].factor
                    for key, value in found.items()
                }
                values[name].append(numbers | {"niqe": _niqe(images[name][-1])})
    return {name: _columns(found) for name, found in values.items()}


def _measure_frame(
    judge: Judge, images: dict[str, np.ndarray], lr: np.ndarray, scale: int
) -> dict[str, dict]:
    """`images`: row -> previous and current frame, or the current one alone if it is
    the first.
    """
    hr, up = images.get("HR"), images["bicubic"]
    motion = _motion(up if hr is None else hr) if len(up) > 1 else None
    change = None if hr is None or motion is None else _change(judge, hr)
    found: dict[str, dict] = {name: {} for name in images}
    for name, sr in images.items():
        if motion is not None:
            found[name]["warping"] = _warping(sr[1:], sr[:1], *motion)
        if name == "HR":
            continue
        found[name] |= _agreement(sr[-1:], lr, up[-1:], scale=scale)
        if hr is not None:
            found[name] |= _closeness(judge, sr[-1:], hr[-1:], scale)
        if motion is not None and change is not None:
            found[name]["tlp"] = tlp(_change(judge, sr), change)
            found[name]["tof"] = _tof(_flow(sr[1:], sr[:1]), motion.flow)
    return found


def _change(judge: Judge, pair: np.ndarray) -> Array:
    return _lpips(judge.weights["lpips"], pair[1:], pair[:1], net=judge.net)


# compiled one by one: each is used for several rows, and LPIPS and flow for several
# metrics
_flow = jax.jit(lucas_kanade)
_visible = jax.jit(visible)
_lpips = jax.jit(lpips, static_argnames="net")
_dists = jax.jit(dists)
_warping = jax.jit(warping_error)
_tof = jax.jit(tof)


def _motion(pair: np.ndarray) -> Motion:
    flow = _flow(pair[1:], pair[:1])
    return Motion(flow, _visible(flow, _flow(pair[:1], pair[1:])))


@functools.partial(jax.jit, static_argnames="scale")
def _agreement(sr: Array, lr: Array, up: Array, *, scale: int) -> dict[str, Array]:
    return {"lr_psnr": lr_consistency(sr, lr, scale), "colour": colour_shift(sr, up)}


@functools.partial(jax.jit, static_argnames="border")
def _fidelity(sr: Array, hr: Array, *, border: int) -> dict[str, Array]:
    return {"psnr_y": psnr_y(sr, hr, border), "ssim_y": ssim_y(sr, hr, border)}


def _closeness(
    judge: Judge, sr: np.ndarray, hr: np.ndarray, scale: int
) -> dict[str, Array]:
    found = _fidelity(sr, hr, border=scale)
    found["lpips"] = _lpips(judge.weights["lpips"], sr, hr, net=judge.net)
    return found | (
        {"dists": _dists(judge.weights["dists"], sr, hr)}
        if "dists" in judge.weights
        else {}
    )


def _niqe(image: np.ndarray) -> float:
    try:
        return niqe(image)
    except ValueError:  # smaller than two blocks
        return math.nan


def _columns(frames: list[dict[str, float]]) -> PerFrame:
    names = [name for name in METRICS if any(name in found for found in frames)]
    return {
        name: np.array([found.get(name, math.nan) for found in frames])
        for name in names
    }
