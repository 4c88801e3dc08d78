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


def error(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Pixels for a flow, else relative root mean square."""
    assert found.shape == expected.shape, (
        f"{name}: {found.shape}, expected {expected.shape}"
    )
    difference = np.abs(np.asarray(found, np.float64) - expected)
    if name.startswith("flow"):
        return float(difference.max())
    return float(
        np.sqrt(
            np.mean(difference**2)
            / max(np.mean(np.square(expected, dtype=np.float64)), 1e-30)
        )
    )


def tolerance(name: str) -> float:
    if name.startswith("flow"):
        return FLOW_PIXELS
    return DECODED if name in ("decoded", "warped") else UNIT


def faults(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> dict[str, str]:
    """Outputs beyond their tolerance; both sides must have the same names."""
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())
    errors = {name: error(name, found[name], expected[name]) for name in expected}
    print(
        *(f"{name} {e:.1e}" for name, e in errors.items()), sep=", "
    )  # shown by pytest -s and on failure
    return {
        name: f"{e:.1e} > {tolerance(name):.0e}"
        for name, e in errors.items()
        if not e <= tolerance(name)
    }
