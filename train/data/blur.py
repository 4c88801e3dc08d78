"""Blur kernels of the blind degradation (Real-ESRGAN's families), and their use."""

from typing import Any

import numpy as np
import scipy.fft
import scipy.special
from jaxtyping import Float

from train.data.batch import Clip

Kernel = Float[np.ndarray, "size size"]
Kernels = Float[np.ndarray, "f size size"]

FAMILIES = {
    "iso": 0.405,
    "aniso": 0.225,
    "generalized_iso": 0.108,
    "generalized_aniso": 0.027,
    "plateau_iso": 0.108,
    "plateau_aniso": 0.027,
    "sinc": 0.1,
}


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(size) - (size - 1) / 2
    return np.meshgrid(axis, axis)


def gaussian_family(
    size: int, sigmas: tuple[float, float], angle: float, family: str, beta: float
) -> Kernel:
    """float[size,size], sum 1; q = x' Sigma^-1 x: exp(-q/2), generalized
    exp(-q^beta/2), plateau 1/(1+q^beta).
    """
    x, y = _grid(size)
    cos = np.cos(angle)
    sin = np.sin(angle)
    along, across = sigmas
    u = (cos * x + sin * y) / along
    v = (-sin * x + cos * y) / across
    q = u * u + v * v
    if family.startswith("plateau"):
        kernel = 1 / (1 + q**beta)
    else:
        exponent = beta if family.startswith("generalized") else 1.0
        kernel = np.exp(-0.5 * q**exponent)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """float[size,size], sum 1: the circular low-pass cutoff J1(cutoff r) / (2 pi r);
    rings like sharpened video.
    """
    x, y = _grid(size)
    radius = np.hypot(x, y)
    # the middle pixel has the limit of the quotient
    limit = cutoff**2 / (4 * np.pi)
    safe = np.where(radius == 0, 1.0, radius)
    bessel = scipy.special.j1(cutoff * safe)
    kernel = cutoff * bessel / (2 * np.pi * safe)
    kernel = np.where(radius == 0, limit, kernel)
    return kernel / kernel.sum()


def random_kernels(
    rng: np.random.Generator, sigma_range: tuple[float, float], num_frames: int
) -> Kernels:
    """float[f,size,size]: one family and angle for the window, sigma in a slow random
    walk over its frames.
    """
    size = int(rng.choice(np.arange(7, 22, 2)))
    shares = np.array(list(FAMILIES.values()))
    family = str(rng.choice(list(FAMILIES), p=shares / sum(FAMILIES.values())))
    if family == "sinc":
        cutoff = rng.uniform(np.pi / 3, np.pi)
        kernel = sinc_kernel(size, cutoff)
        return np.repeat(kernel[None], num_frames, 0)
    angle = rng.uniform(-np.pi, np.pi)
    is_plateau = family.startswith("plateau")
    beta = rng.uniform(1, 2) if is_plateau else rng.uniform(0.5, 4)
    along = walk(rng, sigma_range, 0.02, num_frames)
    across = along
    if family.endswith("aniso"):
        across = walk(rng, sigma_range, 0.02, num_frames)
    kernels = []
    for sigmas in zip(along, across):
        kernels.append(gaussian_family(size, sigmas, angle, family, beta))
    return np.stack(kernels)


def walk(
    rng: np.random.Generator, limits: tuple[float, float], step: float, num_frames: int
) -> Float[np.ndarray, " f"]:
    """float[f]: uniform start, then uniform steps of at most `step`, kept inside the
    limits.
    """
    steps = rng.uniform(-step, step, num_frames)
    steps[0] = rng.uniform(*limits)
    return np.clip(np.cumsum(steps), *limits)


def filter_frames(frames: Clip, kernels: Kernels) -> Clip:
    """uint8[f,h,w,3] convolved with float[f,k,k], borders mirrored, in 8 bits."""
    _, height, width, _ = frames.shape
    reach = kernels.shape[-1] // 2
    none = (0, 0)
    around = (reach, reach)
    padded = np.pad(
        frames.astype(np.float32),
        (none, around, around, none),
        mode="symmetric",
    )
    # a product of spectra is a convolution around the border: room for its ends
    shape: list[Any] = [
        scipy.fft.next_fast_len(side + 2 * reach, real=True)
        for side in padded.shape[1:3]
    ]
    response = _spectrum(kernels.astype(np.float32), shape)
    spectrum = _spectrum(padded, shape) * response[..., None]
    full = np.asarray(scipy.fft.irfft2(spectrum, shape, axes=(1, 2)))
    first = 2 * reach
    valid = full[:, first : first + height, first : first + width]
    return np.clip(np.rint(valid), 0, 255).astype(np.uint8)


def _spectrum(images: np.ndarray, shape: list[int]) -> np.ndarray:
    return np.asarray(scipy.fft.rfft2(images, shape, axes=(1, 2)))
