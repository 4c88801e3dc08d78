import json
from pathlib import Path

import jax
import numpy as np
import pytest

from sdvsr_jax.metrics.dists import NUM_CHANNELS, convert_dists, dists
from tests.metrics.lpips_inputs import image_pairs, random_state

# made with DISTS of the authors' DISTS_pytorch package on torch 2.15 from the same
# inputs and seeded weights
GOLDEN = json.loads((Path(__file__).parent / "golden/dists.json").read_text())


def state_dict():
    rng = np.random.default_rng(5)
    state = random_state("vgg16")
    # the heads of LPIPS are no part of it
    trunk = {
        name: value for name, value in state.items() if name.startswith("features")
    }
    # the order of the draws is part of the golden values
    for name in ("alpha", "beta"):
        weights = rng.uniform(0, 1, (1, NUM_CHANNELS, 1, 1))
        trunk[name] = weights.astype(np.float32)
    return trunk


@pytest.fixture(scope="module")
def params():
    return convert_dists(state_dict())


@pytest.fixture(scope="module")
def distance():
    return jax.jit(dists)


def test_agrees_with_the_authors_code(params, distance):
    distances = distance(params, *image_pairs())
    expected = GOLDEN["vgg16_random"]
    # 1e-4: one minus a similarity near one loses three digits
    np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=2e-6)


def test_equal_images_are_at_zero_and_the_order_does_not_matter(params, distance):
    x, y = image_pairs()
    # one minus sums of 1475 weights times similarities, which add up to one
    np.testing.assert_allclose(distance(params, x, x), np.zeros(4), atol=1e-5)
    there = distance(params, x, y)
    back = distance(params, y, x)
    np.testing.assert_allclose(there, back, atol=1e-5)


def test_a_wrong_state_dict_reports_every_fault():
    state = state_dict()
    del state["beta"]
    state["alpha"] = np.zeros(7, np.float32)
    state["mystery"] = np.zeros(1, np.float32)
    faults = r"alpha.*is \(7,\), expected \(1475,\).*beta.*None.*unknown mystery"
    with pytest.raises(ValueError, match=faults):
        convert_dists(state)
