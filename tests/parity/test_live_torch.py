"""Live comparison with diffusers, torchvision and transformers: `pytest -m parity`,
where torch is installed.
"""

import cases
import compare
import jax_outputs
import pytest

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def params():
    return cases.params()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("case", cases.CASES)
def test_equals_pytorch(params, case: str) -> None:
    for library in ("torch", "torchvision", "diffusers", "transformers"):
        pytest.importorskip(
            library,
            reason="parity needs torch, torchvision, diffusers and transformers",
        )
    import torch_outputs

    expected = torch_outputs.run(case)
    ours = jax_outputs.RUN[case](params, cases.CASES[case]())
    assert not compare.faults(ours, expected)
