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
        # Two frames of each row at a time: floats take four times a clip's bytes.
        for frame in range(len(case.lr)):
            first = max(frame - 1, 0)
            pair = slice(first, frame + 1)
            pairs = {name: to_float(row[pair]) for name, row in images.items()}
            rows = _measure_frame(judge, case, frame, pairs, scale)
            for name, numbers in rows.items():
                values[name].append(numbers)
    results: dict[str, PerFrame] = {}
    if case.clean_lr is not None:
        results["input"] = _input_agreement(case.lr, case.clean_lr)
    for name, numbers in values.items():
        results[name] = _columns(numbers, judge)
    if "jump" in judge.metrics:
        for name, row in images.items():
            jump = jumps(row, case.intra)
            if not np.isnan(jump).all():
                results[name]["jump"] = jump
    return results


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


def _number(batch: Array) -> float:
    """The value of a batch of one frame."""
    return float(batch[0])


def _measure_frame(
    judge: Judge, case: Case, frame: int, pairs: dict[str, np.ndarray], scale: int
) -> dict[str, Numbers]:
    """Raw values of one frame, in the units of METRICS before the factor.

    Args:
      pairs: row -> previous and current frame; the current one alone for the first.
    """
    values: dict[str, Numbers] = {name: {} for name in pairs}
    frames = {name: pair[-1:] for name, pair in pairs.items()}
    bicubic = frames["bicubic"]
    for name, sr in frames.items():
        phase = _phase(sr, bicubic, scale)
        phase_flat = _phase(sr, bicubic, scale, FLAT_LIMIT)
        numbers = values[name]
        numbers["phase"] = _number(phase)
        numbers["phase_flat"] = _number(phase_flat)
        numbers["niqe"] = _niqe(judge, case.truth, name, frame, sr[0])
    candidates = dict(frames)
    truth = candidates.pop("HR", None)
    for name, sr in candidates.items():
        values[name] |= _agreement(case, frame, sr, bicubic, scale)
    if truth is not None:
        for name, sr in candidates.items():
            values[name] |= _fidelity(judge, sr, truth, scale)
        distances = _lpips_of_rows(judge, candidates, truth)
        for name, distance in distances.items():
            values[name]["lpips"] = distance
    has_previous = len(pairs["bicubic"]) == 2
    if has_previous:
        steadiness = _steadiness(judge, case.truth, frame, pairs)
        for name, numbers in steadiness.items():
            values[name] |= numbers
    return values


def _agreement(
    case: Case, frame: int, sr: np.ndarray, bicubic: np.ndarray, scale: int
) -> Numbers:
    current = slice(frame, frame + 1)
    lr = to_float(case.lr[current])
    numbers = {
        "lr_psnr": _number(_lr_psnr(sr, lr, scale)),
        "colour": _number(_colour(sr, bicubic)),
    }
    if case.clean_lr is not None:
        clean_lr = to_float(case.clean_lr[current])
        clean_psnr = _lr_psnr(sr, clean_lr, scale)
        numbers["clean_psnr"] = _number(clean_psnr)
    return numbers


def _fidelity(judge: Judge, sr: np.ndarray, hr: np.ndarray, border: int) -> Numbers:
    numbers = {
        "psnr_y": _number(_psnr_y(sr, hr, border)),
        "ssim_y": _number(_ssim_y(sr, hr, border)),
    }
    if "dists" in judge.weights and "dists" in judge.metrics:
        weights = judge.weights["dists"]
        numbers["dists"] = _number(_dists(weights, sr, hr))
    return numbers


def _lpips_of_rows(
    judge: Judge, frames: dict[str, np.ndarray], hr: np.ndarray
) -> Numbers:
    """Row -> LPIPS of its frame [1, H, W, 3], mean over the offsets of the judge."""
    if "lpips" not in judge.metrics:
        return {}
    distances: dict[str, list[float]] = {name: [] for name in frames}
    weights = judge.weights["lpips"]
    last = max(judge.offsets)
    full_height, full_width = hr.shape[1:3]
    height = full_height - last
    width = full_width - last
    for offset in judge.offsets:
        rows = slice(offset, offset + height)
        columns = slice(offset, offset + width)
        hr_features = _lpips_features(judge, hr[:, rows, columns])
        for name, sr in frames.items():
            features = _lpips_features(judge, sr[:, rows, columns])
            distance = _distance(weights, features, hr_features)
            distances[name].append(_number(distance))
    means = {}
    for name, values in distances.items():
        means[name] = float(np.mean(values))
    return means


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
            previous = pair[:1]
            current = pair[1:]
            error = _warping(current, previous, motion.flow, motion.mask)
            values[name]["warping"] = _number(error)
    if truth is None:
        return values
    for name, pair in pairs.items():
        if name == "HR":
            continue
        if "tof" in judge.metrics:
            flow = _flow(pair[1:], pair[:1])
            error = _tof(flow, motion.flow)
            values[name]["tof"] = _number(error)
        if "tlp" in judge.metrics:
            change = _perceptual_change(judge, pair)
            hr_change = _change_of_truth(judge, truth, frame, pairs["HR"])
            values[name]["tlp"] = _number(tlp(change, hr_change))
    return values


def _motion(truth: Truth | None, frame: int, pairs: dict[str, np.ndarray]) -> Motion:
    if truth is None:
        return _estimate_motion(pairs["bicubic"])
    if frame not in truth.motions:
        truth.motions[frame] = _estimate_motion(pairs["HR"])
    return truth.motions[frame]


def _estimate_motion(pair: np.ndarray) -> Motion:
    previous = pair[:1]
    current = pair[1:]
    forward = _flow(current, previous)
    backward = _flow(previous, current)
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
    changes = []
    for number in range(1, len(row)):
        previous = to_float(row[number - 1 : number])
        current = to_float(row[number : number + 1])
        changes.append(_change(current, previous))
    change = np.concatenate(changes)
    elsewhere = change[~inner].mean()
    if elsewhere > 0:
        ratios[1:][inner] = change[inner] / elsewhere
    return ratios


def _input_agreement(lr: np.ndarray, clean_lr: np.ndarray) -> PerFrame:
    """PSNR (RGB, dB) of the degraded input against the clean one."""
    difference = lr.astype(np.float64) - clean_lr
    error = np.square(difference).mean((1, 2, 3))
    # a frame that came through unharmed has an infinite ratio
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(255**2 / error)
    return {"clean_psnr": decibels}


def _columns(frames: list[Numbers], judge: Judge) -> PerFrame:
    columns = {}
    for name, metric in METRICS.items():
        per_frame = [numbers.get(name, math.nan) for numbers in frames]
        column = np.array(per_frame)
        is_defined = not np.isnan(column).all()
        if is_defined and name in judge.metrics:
            columns[name] = column * metric.factor
    return columns
