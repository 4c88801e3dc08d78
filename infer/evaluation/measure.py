"""Every metric of every frame of every row of one clip under one condition."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from infer.evaluation.clips import to_float
from sdvsr_jax.metrics.agreement import colour_shift, lr_consistency
from sdvsr_jax.metrics.dists import dists, load_dists
from sdvsr_jax.metrics.fidelity import psnr_y, ssim_y
from sdvsr_jax.metrics.flow import lucas_kanade
from sdvsr_jax.metrics.lpips import lpips_distance, lpips_features
from sdvsr_jax.metrics.lpips_weights import load_lpips
from sdvsr_jax.metrics.niqe import niqe
from sdvsr_jax.metrics.pattern import phase_pattern
from sdvsr_jax.metrics.temporal import frame_change, tlp, tof, visible, warping_error
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
    "clean_psnr": Metric("clean LR dB", True, 2),
    "colour": Metric("colour /255", False, 3),
    "phase": Metric("phase /255", False, 3),
    "phase_flat": Metric("phase, flat /255", False, 3),
    "jump": Metric("I-frame jump", False, 3),
}

# Levels: twice the strongest pattern that was seen. The truth less bicubic has a phase
# pattern of 0.08 to 0.15 by chance, and 0.03 with this limit.
FLAT_LIMIT = 4.0
PerFrame = dict[str, np.ndarray]
"""Metric name -> one value per frame; NaN where it is not defined: temporal metrics of
frame 0, the jump of frames that are not I-frames."""
Numbers = dict[str, float]
"""Metric (or row) name -> its value for one frame."""


class Motion(NamedTuple):
    """Of the ground truth: flow current -> previous, and where it can be followed."""

    flow: Flow
    mask: Mask


class Judge(NamedTuple):
    """Weights and choices of the metrics; `weights` has 'lpips' and perhaps 'dists'."""

    weights: Params
    net: str = "squeeze"
    offsets: tuple[int, ...] = (0,)
    """LPIPS is the mean over crops that begin at (o, o), all of one size."""
    metrics: frozenset[str] = frozenset(METRICS)


def make_judge(
    net: str,
    lpips_weights: Path | None,
    dists_weights: Path | None,
    offsets: tuple[int, ...] = (0,),
    metrics: tuple[str, ...] = (),
) -> Judge:
    """Loads the weights: LPIPS has shipped ones for 'squeeze' only, DISTS none.

    Args:
      metrics: names of METRICS to compute; empty for all.
    """
    weights = {"lpips": load_lpips(lpips_weights, net)}
    if dists_weights:
        weights["dists"] = load_dists(dists_weights)
    return Judge(weights, net, offsets, frozenset(metrics or METRICS))


@dataclass
class Truth:
    """Numbers of the ground truth itself, computed once for all rows and conditions."""

    hr: np.ndarray
    """uint8 [f, H, W, 3]."""
    motions: dict[int, Motion] = field(default_factory=dict)
    lpips_changes: dict[int, Array] = field(default_factory=dict)
    """LPIPS between a frame and the one before it."""
    niqe: dict[int, float] = field(default_factory=dict)


class Case(NamedTuple):
    """One clip under one condition; uint8 arrays."""

    rows: dict[str, np.ndarray]
    """Row name -> SR [f, H, W, 3], "bicubic" among them."""
    lr: np.ndarray
    """[f, h, w, 3], the input of the model."""
    clean_lr: np.ndarray | None
    """The input before it was degraded; None where it was not."""
    intra: np.ndarray
    """bool [f]: I-frames of the input; all False where they are not known."""
    truth: Truth | None


def measure(case: Case, scale: int, judge: Judge) -> dict[str, PerFrame]:
    """Row name -> metrics per frame.

    With ground truth a row "HR" shows its own score where that says something, and for
    a degraded input a row "input" its agreement with the clean one. Without ground
    truth only the metrics that need none are returned; the motion is then that of the
    bicubic row.
    """
    images = dict(case.rows)
    if case.truth is not None:
        images["HR"] = case.truth.hr
    values: dict[str, list[Numbers]] = {name: [] for name in images}
    # on a GPU float32 convolutions would be rounded to TF32, which moves LPIPS in the
    # third digit
    with jax.default_matmul_precision("highest"):
        for frame in range(len(case.lr)):
            pairs = {
                name: to_float(row[max(frame - 1, 0) : frame + 1])
                for name, row in images.items()
            }
            rows = _measure_frame(judge, case, frame, pairs, scale)
            for name, numbers in rows.items():
                values[name].append(numbers)
    results = {name: _columns(numbers, judge) for name, numbers in values.items()}
    if "jump" in judge.metrics:
        for name, row in images.items():
            jump = jumps(row, case.intra)
            if not np.isnan(jump).all():
                results[name]["jump"] = jump
    if case.clean_lr is None:
        return results
    return {"input": _input_agreement(case.lr, case.clean_lr)} | results


# compiled one by one: each is used for several rows, and LPIPS and flow for several
# metrics
_flow = jax.jit(lucas_kanade)
_visible = jax.jit(visible)
_features = jax.jit(lpips_features, static_argnames="net")
_distance = jax.jit(lpips_distance)
_dists = jax.jit(dists)
_warping = jax.jit(warping_error)
_tof = jax.jit(tof)
_psnr_y = jax.jit(psnr_y, static_argnums=2)
_ssim_y = jax.jit(ssim_y, static_argnums=2)
_lr_psnr = jax.jit(lr_consistency, static_argnums=2)
_colour = jax.jit(colour_shift)
_phase = jax.jit(phase_pattern, static_argnums=(2, 3))
_change = jax.jit(frame_change)


def _measure_frame(
    judge: Judge, case: Case, frame: int, pairs: dict[str, np.ndarray], scale: int
) -> dict[str, Numbers]:
    """Raw values of one frame, in the units of METRICS before the factor.

    Args:
      pairs: row -> previous and current frame; the current one alone for the first.
    """
    values: dict[str, Numbers] = {name: {} for name in pairs}
    bicubic = pairs["bicubic"][-1:]
    for name, pair in pairs.items():
        sr = pair[-1:]
        values[name]["phase"] = float(_phase(sr, bicubic, scale)[0])
        flat = _phase(sr, bicubic, scale, FLAT_LIMIT)
        values[name]["phase_flat"] = float(flat[0])
        values[name]["niqe"] = _niqe(judge, case.truth, name, frame, pair[-1])
    candidates = {name: pair for name, pair in pairs.items() if name != "HR"}
    for name, pair in candidates.items():
        values[name] |= _agreement(case, frame, pair[-1:], bicubic, scale)
    if case.truth is not None:
        truth = pairs["HR"][-1:]
        for name, pair in candidates.items():
            values[name] |= _fidelity(judge, pair[-1:], truth, scale)
        for name, distance in _lpips_of_rows(judge, candidates, truth).items():
            values[name]["lpips"] = distance
    if len(pairs["bicubic"]) == 2:
        for name, numbers in _steadiness(judge, case.truth, frame, pairs).items():
            values[name] |= numbers
    return values


def _agreement(
    case: Case, frame: int, sr: np.ndarray, bicubic: np.ndarray, scale: int
) -> Numbers:
    lr = to_float(case.lr[frame : frame + 1])
    numbers = {
        "lr_psnr": float(_lr_psnr(sr, lr, scale)[0]),
        "colour": float(_colour(sr, bicubic)[0]),
    }
    if case.clean_lr is not None:
        clean_lr = to_float(case.clean_lr[frame : frame + 1])
        numbers["clean_psnr"] = float(_lr_psnr(sr, clean_lr, scale)[0])
    return numbers


def _fidelity(judge: Judge, sr: np.ndarray, hr: np.ndarray, border: int) -> Numbers:
    numbers = {
        "psnr_y": float(_psnr_y(sr, hr, border)[0]),
        "ssim_y": float(_ssim_y(sr, hr, border)[0]),
    }
    if "dists" in judge.weights and "dists" in judge.metrics:
        numbers["dists"] = float(_dists(judge.weights["dists"], sr, hr)[0])
    return numbers


def _lpips_of_rows(
    judge: Judge, pairs: dict[str, np.ndarray], hr: np.ndarray
) -> Numbers:
    """Row -> LPIPS of the current frame, mean over the offsets of the judge."""
    if "lpips" not in judge.metrics:
        return {}
    distances: dict[str, list[float]] = {name: [] for name in pairs}
    last = max(judge.offsets)
    height, width = hr.shape[1:3]
    for offset in judge.offsets:
        rows = slice(offset, height - last + offset)
        columns = slice(offset, width - last + offset)
        hr_features = _lpips_features(judge, hr[:, rows, columns])
        for name, pair in pairs.items():
            features = _lpips_features(judge, pair[-1:, rows, columns])
            distance = _distance(judge.weights["lpips"], features, hr_features)
            distances[name].append(float(distance[0]))
    return {name: float(np.mean(values)) for name, values in distances.items()}


def _lpips_features(judge: Judge, image: np.ndarray) -> list[Array]:
    return _features(judge.weights["lpips"], image, net=judge.net)


def _steadiness(
    judge: Judge, truth: Truth | None, frame: int, pairs: dict[str, np.ndarray]
) -> dict[str, Numbers]:
    """Row -> metrics that compare the frame with the one before it."""
    values: dict[str, Numbers] = {name: {} for name in pairs}
    if judge.metrics & {"warping", "tof"}:
        motion = _motion(truth, frame, pairs)
        for name, pair in pairs.items():
            error = _warping(pair[1:], pair[:1], motion.flow, motion.mask)
            values[name]["warping"] = float(error[0])
    if truth is None:
        return values
    for name, pair in pairs.items():
        if name == "HR":
            continue
        if "tof" in judge.metrics:
            flow = _flow(pair[1:], pair[:1])
            values[name]["tof"] = float(_tof(flow, motion.flow)[0])
        if "tlp" in judge.metrics:
            change = _perceptual_change(judge, pair)
            hr_change = _change_of_truth(judge, truth, frame, pairs["HR"])
            values[name]["tlp"] = float(tlp(change, hr_change)[0])
    return values


def _motion(truth: Truth | None, frame: int, pairs: dict[str, np.ndarray]) -> Motion:
    if truth is None:
        return _estimate_motion(pairs["bicubic"])
    if frame not in truth.motions:
        truth.motions[frame] = _estimate_motion(pairs["HR"])
    return truth.motions[frame]


def _estimate_motion(pair: np.ndarray) -> Motion:
    forward = _flow(pair[1:], pair[:1])
    backward = _flow(pair[:1], pair[1:])
    return Motion(forward, _visible(forward, backward))


def _change_of_truth(judge: Judge, truth: Truth, frame: int, pair: np.ndarray) -> Array:
    if frame not in truth.lpips_changes:
        truth.lpips_changes[frame] = _perceptual_change(judge, pair)
    return truth.lpips_changes[frame]


def _perceptual_change(judge: Judge, pair: np.ndarray) -> Array:
    previous = _lpips_features(judge, pair[:1])
    current = _lpips_features(judge, pair[1:])
    return _distance(judge.weights["lpips"], current, previous)


def _niqe(
    judge: Judge, truth: Truth | None, row: str, frame: int, image: np.ndarray
) -> float:
    if "niqe" not in judge.metrics:
        return math.nan
    if row != "HR" or truth is None:
        return _niqe_or_nan(image)
    if frame not in truth.niqe:
        truth.niqe[frame] = _niqe_or_nan(image)
    return truth.niqe[frame]


def _niqe_or_nan(image: np.ndarray) -> float:
    try:
        return niqe(image)
    except ValueError:  # smaller than two blocks
        return math.nan


def jumps(row: np.ndarray, intra: np.ndarray) -> np.ndarray:
    """Change at I-frames over the mean change at other frames; NaN elsewhere.

    Args:
      row: uint8 frames [f, H, W, 3].
      intra: bool [f]; frame 0 has no change and does not count.

    Returns all NaN where there is no I-frame or nothing else.
    """
    ratios = np.full(len(row), math.nan)
    inner = np.asarray(intra[1:], bool)
    if inner.all() or not inner.any():
        return ratios
    pairs = zip(row[1:], row[:-1])
    changes = [_change(to_float(a[None]), to_float(b[None])) for a, b in pairs]
    change = np.concatenate(changes)
    elsewhere = change[~inner].mean()
    if elsewhere > 0:
        ratios[1:][inner] = change[inner] / elsewhere
    return ratios


def _input_agreement(lr: np.ndarray, clean_lr: np.ndarray) -> PerFrame:
    """PSNR (RGB, dB) of the degraded input against the clean one."""
    error = np.square(lr.astype(np.float64) - clean_lr).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return {"clean_psnr": 10 * np.log10(255**2 / error)}


def _columns(frames: list[Numbers], judge: Judge) -> PerFrame:
    columns = {}
    for name, metric in METRICS.items():
        column = np.array([numbers.get(name, math.nan) for numbers in frames])
        if name in judge.metrics and not np.isnan(column).all():
            columns[name] = column * metric.factor
    return columns
