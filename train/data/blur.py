"""Blur kernels of the blind degradation (Real-ESRGAN's families), and their use."""

import numpy as np
import scipy.fft
import scipy.special

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
) -> np.ndarray:
    """float[size,size], sum 1; q = x' Sigma^-1 x: exp(-q/2), generalized
    exp(-q^beta/2), plateau 1/(1+q^beta).
    """
    x, y = _grid(size)
    u = (np.cos(angle) * x + np.sin(angle) * y) / sigmas[0]
    v = (-np.sin(angle) * x + np.cos(angle) * y) / sigmas[1]
    q = u * u + v * v
    if family.startswith("plateau"):
        kernel = 1 / (1 + q**beta)
    else:
        kernel = np.exp(-0.5 * q ** (beta if family.startswith("generalized") else 1.0))
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """float[size,size], sum 1: the circular low-pass cutoff J1(cutoff r) / (2 pi r);
    rings like sharpened video.
    """
    x, y = _grid(size)
    radius = np.hypot(x, y)
    safe = np.where(radius == 0, 1.0, radius)
    kernel = cutoff * scipy.special.j1(cutoff * safe) / (2 * np.pi * safe)
    kernel = np.where(radius == 0, cutoff**2 / (4 * np.pi), kernel)
    return kernel / kernel.sum()


def random_kernels(
    rng: np.random.Generator, sigma_range: tuple[float, float], num_frames: int
) -> np.ndarray:
    """float[f,size,size]: one family and angle for the window, sigma in a slow random
    walk over its frames.
    """
    size = int(rng.choice(np.arange(7, 22, 2)))
    family = str(
        rng.choice(
            list(FAMILIES), p=np.array(list(FAMILIES.values())) / sum(FAMILIES.values())
        )
    )
    if family == "sinc":
        return np.repeat(
            sinc_kernel(size, rng.uniform(np.pi / 3, np.pi))[None], num_frames, 0
        )
    angle = rng.uniform(-np.pi, np.pi)
    beta = rng.uniform(1, 2) if family.startswith("plateau") else rng.uniform(0.5, 4)
    first = walk(rng, sigma_range, 0.02, num_frames)
    second = (
        walk(rng, sigma_range, 0.02, num_frames) if family.endswith("aniso") else first
    )
    return np.stack(
        [
            gaussian_family(size, (a, b), angle, family, beta)
            for a, b in zip(first, second)
        ]
    )


def walk(
    rng: np.random.Generator, limits: tuple[float, float], step: float, num_frames: int
) -> np.ndarray:
    """float[f]: uniform start, then uniform steps of at most `step`, kept inside the
    limits.
    """
    steps = rng.uniform(-step, step, num_frames)
    steps[0] = rng.uniform(*limits)
    return np.clip(np.cumsum(steps), *limits)


def filter_frames(frames: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """uint8[f,h,w,3] convolved with float[f,k,k], borders mirrored, in 8 bits."""
    reach = kernels.shape[-1] // 2
    padded = np.pad(
        frames.astype(np.float32),
        ((0, 0), (reach, reach), (reach, reach), (0, 0)),
        mode="symmetric",
    )
    shape = [
        scipy.fft.next_fast_len(s + 2 * reach, real=True) for s in padded.shape[1:3]
    ]
    response = np.asarray(
        scipy.fft.rfft2(kernels.astype(np.float32), shape, axes=(1, 2))
    )
    spectrum = (
        np.asarray(scipy.fft.rfft2(padded, shape, axes=(1, 2))) * response[..., None]
    )
    full = np.asarray(scipy.fft.irfft2(spectrum, shape, axes=(1, 2)))
    height, width = frames.shape[1:3]
    valid = full[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return np.clip(np.rint(valid), 0, 255).astype(np.uint8)
