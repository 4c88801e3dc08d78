"""Conditions of an input: the damage to the video before it reached the model.

A condition is written as parts joined by "+", applied from left to right:

    clean                      the standard bicubic reduction and nothing else
    h264:28                    one encode: codec and CRF, or quantiser
    noise:10+h264:28           Gaussian noise of sigma 10 levels, then an encode
    blur:2+h264:28             blur of sigma 2 HR pixels before the reduction, then an
                               encode
    h264:23+h264:30            two generations
"""

import re
from typing import NamedTuple

import numpy as np

from infer.evaluation.clips import make_lr, ping_pong
from infer.evaluation.codecs import CODECS, Encode, recompress

LEAD_IN = 6
"""Frames encoded before the first: half a group of pictures, so that a short clip has
an I-frame inside and does not begin with one."""
BLUR_RANGE = (0.0, 10.0)
NOISE_RANGE = (0.0, 100.0)
_PART = re.compile(r"(?P<name>[a-z0-9]+):(?P<value>\d+(\.\d+)?)")


class Noise(NamedTuple):
    """White Gaussian noise on the 8-bit LR frames, independent in R, G and B."""

    sigma: float
    """Levels of 255."""


class Condition(NamedTuple):
    """`blur`: sigma in HR pixels before the reduction. `stages` follow it, in order."""

    name: str
    blur: float
    stages: tuple[Noise | Encode, ...]


class Dirty(NamedTuple):
    """An input as the model receives it."""

    lr: np.ndarray
    """uint8 [f, h, w, 3]."""
    intra: np.ndarray
    """bool [f]: I-frames of the last encode; all False without one."""


def parse_condition(text: str) -> Condition:
    """Reads the notation above; a ValueError names the part that is wrong."""
    if text == "clean":
        return Condition(text, 0.0, ())
    blur = 0.0
    stages: list[Noise | Encode] = []
    for position, part in enumerate(text.split("+")):
        name, value = _read_part(part, text)
        if name == "blur":
            if position > 0:
                raise ValueError(
                    f"--degrade {text}: blur comes first, it is applied before the "
                    "reduction"
                )
            blur = _within(BLUR_RANGE, value, part)
        elif name == "noise":
            stages.append(Noise(_within(NOISE_RANGE, value, part)))
        else:
            codec = CODECS[name]
            quality = _within(codec.quality_range, value, part)
            stages.append(Encode(name, quality))
    return Condition(text, blur, tuple(stages))


def _read_part(part: str, text: str) -> tuple[str, float]:
    match = _PART.fullmatch(part)
    known = ("blur", "noise", *CODECS)
    if match is None or match["name"] not in known:
        raise ValueError(
            f"--degrade {text}: {part!r} is not known; expected 'clean' or parts "
            f"NAME:VALUE joined by '+', NAME one of {', '.join(known)}"
        )
    return match["name"], float(match["value"])


def _within(limits: tuple[float, float], value: float, part: str) -> float:
    low, high = limits
    if not low <= value <= high:
        raise ValueError(f"--degrade {part}: expected {low:g} to {high:g}")
    return value


def degrade(hr: np.ndarray, condition: Condition, scale: int) -> Dirty:
    """Makes the dirty LR clip of a condition; the same bits every time.

    Args:
      hr: uint8 [f, H, W, 3], sides divisible by `scale`.
    """
    reduced = make_lr(hr, scale, condition.blur)
    length = len(reduced)
    if not condition.stages:
        return Dirty(reduced, np.zeros(length, bool))
    # Backwards and without frame 0, which follows as the clip's own.
    order = ping_pong(length, LEAD_IN + 1)
    lead_in = reduced[order[:0:-1]]
    frames = np.concatenate([lead_in, reduced])
    intra = np.zeros(len(frames), bool)
    for generation, stage in enumerate(condition.stages):
        if isinstance(stage, Noise):
            # its place is the seed: noise of two generations differs, runs do not
            frames = add_noise(frames, stage.sigma, seed=generation)
        else:
            frames, intra = recompress(frames, stage)
    return Dirty(frames[LEAD_IN:], intra[LEAD_IN:])


def add_noise(frames: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """uint8 frames with new noise in every frame, rounded and clipped to 8 bit."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0.0, sigma, frames.shape)
    noisy = np.rint(frames + noise)
    return np.clip(noisy, 0, 255).astype(np.uint8)
