"""Blur kernels of the blind degradation (Real-ESRGAN's families), and their use."""

from typing import Any

import numpy as np
import scipy.fft
import scipy.special
from jaxtyping import Float

from train.data.batch import Clip, to_uint8

Kernel = Float[np.ndarray, "size size"]
Kernels = Float[np.ndarray, "f size size"]

# Rows and columns, between frames and channels.
SIDES = (1, 2)

# Real-ESRGAN's: one kernel in ten is a sinc, and six kinds of Gaussians share the rest.
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
    middle = (size - 1) / 2
    axis = np.arange(size) - middle
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
    u = cos * x + sin * y
    v = -sin * x + cos * y
    u = u / along
    v = v / across
    q = u * u + v * v
    if family.startswith("plateau"):
        power = q**beta
        kernel = 1 / (1 + power)
    else:
        exponent = beta if family.startswith("generalized") else 1.0
        power = q**exponent
        kernel = np.exp(-0.5 * power)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """float[size,size], sum 1: the circular low-pass cutoff J1(cutoff r) / (2 pi r);
    rings like sharpened video.
    """
    x, y = _grid(size)
    radius = np.hypot(x, y)
    # the middle pixel has the limit of the quotient
    limit = cutoff**2 / (4 * np.pi)
    is_middle = radius == 0
    safe = np.where(is_middle, 1.0, radius)
    bessel = scipy.special.j1(cutoff * safe)
    circumference = 2 * np.pi * safe
    kernel = cutoff * bessel / circumference
    kernel = np.where(is_middle, limit, kernel)
    return kernel / kernel.sum()


def random_size(rng: np.random.Generator) -> int:
    """7, 9, ... 21 pixels, odd so that a kernel has a middle."""
    sizes = np.arange(7, 22, 2)
    return int(rng.choice(sizes))


def random_sinc(rng: np.random.Generator, size: int, num_frames: int) -> Kernels:
    """float[f,size,size]: one random low pass for all frames of the window."""
    cutoff = rng.uniform(np.pi / 3, np.pi)
    kernel = sinc_kernel(size, cutoff)
    return np.repeat(kernel[None], num_frames, 0)


def random_kernels(
    rng: np.random.Generator, sigma_range: tuple[float, float], num_frames: int
) -> Kernels:
    """float[f,size,size]: one family and angle for the window, sigma in a slow random
    walk over its frames.
    """
    size = random_size(rng)
    names = list(FAMILIES)
    shares = np.array(list(FAMILIES.values()))
    shares = shares / sum(FAMILIES.values())
    family = str(rng.choice(names, p=shares))
    if family == "sinc":
        return random_sinc(rng, size, num_frames)
    angle = rng.uniform(-np.pi, np.pi)
    limits = (1, 2) if family.startswith("plateau") else (0.5, 4)
    beta = rng.uniform(*limits)
    # the steps of all walks are RealBasicVSR's
    along = walk(rng, sigma_range, 0.02, num_frames)
    across = along
    if family.endswith("aniso"):
        across = walk(rng, sigma_range, 0.02, num_frames)
    kernels = []
    for sigmas in zip(along, across):
        kernel = gaussian_family(size, sigmas, angle, family, beta)
        kernels.append(kernel)
    return np.stack(kernels)


def walk(
    rng: np.random.Generator, limits: tuple[float, float], step: float, num_frames: int
) -> Float[np.ndarray, " f"]:
    """float[f]: uniform start, then uniform steps of at most `step`, kept inside the
    limits.
    """
    steps = rng.uniform(-step, step, num_frames)
    steps[0] = rng.uniform(*limits)
    path = np.cumsum(steps)
    return np.clip(path, *limits)


def filter_frames(frames: Clip, kernels: Kernels) -> Clip:
    """uint8[f,h,w,3] convolved with float[f,k,k], borders mirrored, in 8 bits."""
    _, height, width, _ = frames.shape
    reach = kernels.shape[-1] // 2
    none = (0, 0)
    around = (reach, reach)
    values = frames.astype(np.float32)
    padded = np.pad(values, (none, around, around, none), mode="symmetric")
    _, *padded_size, _ = padded.shape
    # a product of spectra is a convolution around the border: room for its ends
    shape: list[Any] = [
        scipy.fft.next_fast_len(side + 2 * reach, real=True) for side in padded_size
    ]
    response = _spectrum(kernels.astype(np.float32), shape)
    spectrum = _spectrum(padded, shape)
    # one kernel for the three channels of a frame
    product = spectrum * response[..., None]
    full = np.asarray(scipy.fft.irfft2(product, shape, axes=SIDES))
    top = left = 2 * reach
    bottom = top + height
    right = left + width
    return to_uint8(full[:, top:bottom, left:right])


def _spectrum(images: np.ndarray, shape: list[int]) -> np.ndarray:
    spectrum = scipy.fft.rfft2(images, shape, axes=SIDES)
    return np.asarray(spectrum)
