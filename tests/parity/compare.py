"""How far two results are apart, and how far they may be."""

import numpy as np

UNIT = 1e-5
"""rms(difference) / rms(reference) of one component: ten times what PyTorch differs
from itself by.
"""
DECODED = 2e-5
"""The same for decoded frames after several free-running frames."""
FLOW_PIXELS = 1e-3
"""Largest difference of a flow vector's component."""


def error(name: str, ours: np.ndarray, expected: np.ndarray) -> float:
    """Pixels for a flow, else relative root mean square."""
    assert ours.shape == expected.shape, (
        f"{name}: {ours.shape}, expected {expected.shape}"
    )
    exact = np.asarray(expected, np.float64)
    difference = np.abs(ours - exact)
    if name.startswith("flow"):
        return float(difference.max())
    # frame 0 has nothing that is warped: all zero
    power = max(np.mean(exact**2), 1e-30)
    share = np.mean(difference**2) / power
    return float(np.sqrt(share))


def tolerance(name: str) -> float:
    if name.startswith("flow"):
        return FLOW_PIXELS
    return DECODED if name in ("decoded", "warped") else UNIT


def faults(
    ours: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> dict[str, str]:
    """Outputs beyond their tolerance; both sides must have the same names."""
    assert ours.keys() == expected.keys(), sorted(ours.keys() ^ expected.keys())
    errors = {name: error(name, ours[name], expected[name]) for name in expected}
    lines = [f"{name} {value:.1e}" for name, value in errors.items()]
    # shown by pytest -s and on failure
    print(", ".join(lines))
    beyond = {}
    for name, value in errors.items():
        limit = tolerance(name)
        # a NaN is beyond as well
        if not value <= limit:
            beyond[name] = f"{value:.1e} > {limit:.0e}"
    return beyond
