"""Every component and the whole pipeline against stored PyTorch results
(make_fixtures.py), without torch.
"""

from pathlib import Path

import cases
import compare
import jax_outputs
import numpy as np
import pytest
from thinning import thin

# Their odd-sized twins run by default; the pipeline's intermediate results only say
# where an error comes from.
HEAVY = ("unet", "vae", "pipeline")


@pytest.fixture(scope="module")
def params():
    return cases.params()


FIXTURES = Path(__file__).parent / "fixtures"


def stored(case: str) -> dict[str, np.ndarray]:
    return dict(np.load(FIXTURES / f"{case}.npz"))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, marks=pytest.mark.heavy(30)) if c in HEAVY else c
        for c in cases.CASES
    ],
)
def test_equals_stored_pytorch(params, case: str) -> None:
    inputs = cases.CASES[case]()
    ours = jax_outputs.RUN[case](params, inputs)
    samples = {name: thin(name, x) for name, x in ours.items()}
    assert not compare.faults(samples, stored(case))


def test_decoded_frames_equal_stored_pytorch(params) -> None:
    frames = jax_outputs.decoded(cases.MODEL, params, cases.pipeline())
    sample = {"decoded": thin("decoded", frames)}
    expected = {"decoded": stored("pipeline")["decoded"]}
    assert not compare.faults(sample, expected)
