import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax.metrics.lpips import TRUNKS, lpips
from sdvsr_jax.metrics.lpips_weights import convert_lpips, load_lpips
from tests.metrics.lpips_inputs import image_pairs, random_state

# made with lpips.LPIPS of the lpips 0.1.4 package on torch 2.15 from `lpips_inputs`
GOLDEN = json.loads((Path(__file__).parent / "golden/lpips.json").read_text())


@pytest.fixture(scope="module")
def params():
    return load_lpips()


@pytest.fixture(scope="module")
def distance():
    return jax.jit(lpips, static_argnames="net")


def test_shipped_weights_give_the_reference_distances(params, distance):
    distances = distance(params, *image_pairs())
    # 5e-5: float32 sums in another order; the smallest of the four is 0.0036
    np.testing.assert_allclose(distances, GOLDEN["squeeze_trained"], rtol=5e-5)


@pytest.mark.parametrize("net", sorted(TRUNKS))
def test_every_trunk_agrees_with_torch_on_random_weights(net, distance):
    x, y = image_pairs()
    weights = convert_lpips(random_state(net), net)
    distances = distance(weights, x, y, net=net)
    # as above
    np.testing.assert_allclose(distances, GOLDEN[f"{net}_random"], rtol=5e-5)


def test_equal_images_are_at_zero_and_the_order_does_not_matter(params, distance):
    x, y = image_pairs()
    # squares of the differences of two equal computations
    np.testing.assert_allclose(distance(params, x, x), np.zeros(4), atol=1e-9)
    there = distance(params, x, y)
    back = distance(params, y, x)
    # float32 sums of the same squares
    np.testing.assert_allclose(there, back, rtol=1e-5)


def test_rows_of_a_batch_are_independent(params, distance):
    x, y = image_pairs()
    # rows 0 and 1 are others, 2 and 3 are not
    other = np.concatenate([y[:2], x[2:]])
    distances = distance(params, other, y)
    expected = distance(params, x, y)
    # float32 sums, which a batch may compute in another order
    np.testing.assert_allclose(distances[2:], expected[2:], rtol=1e-5)


@pytest.fixture(scope="module")
def value_and_gradient(params):
    return jax.jit(jax.value_and_grad(lambda x, y: lpips(params, x, y).sum()))


@pytest.mark.parametrize("case", ["different", "equal", "black"])
def test_gradients_are_finite(value_and_gradient, case):
    x, y = image_pairs(33)
    if case == "equal":
        y = x
    # many feature vectors of the trunk are zero here
    if case == "black":
        x = np.full_like(x, -1)
        y = np.full_like(y, -1)
    _, gradient = value_and_gradient(x, y)
    assert bool(jnp.isfinite(gradient).all())
    # equal pairs sit at the minimum, up to the rounding of a batch computed in another
    # order
    is_steep = bool(jnp.linalg.norm(gradient) > 1e-5)
    assert is_steep == (case == "different")


def test_a_gradient_step_brings_the_image_nearer(value_and_gradient):
    x, y = image_pairs(33)
    value, gradient = value_and_gradient(x, y)
    # a hundredth of the range in all: far inside the slope's own neighbourhood
    step = 0.01 * gradient / jnp.linalg.norm(gradient)
    nearer, _ = value_and_gradient(x - step, y)
    assert nearer < value


def test_names_of_the_lpips_package_are_read_too():
    state = random_state("alex")
    renamed = {
        name.replace("features.", "net.slice1."): value for name, value in state.items()
    }
    renamed |= {
        "scaling_layer.shift": np.zeros((1, 3, 1, 1)),
        "lins.0.model.1.weight": np.zeros((1, 64, 1, 1)),
    }
    ours = convert_lpips(renamed, "alex")
    expected = convert_lpips(state, "alex")
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


def test_a_wrong_state_dict_reports_every_fault():
    state = random_state("squeeze")
    del state["features.0.bias"]
    state["features.3.squeeze.bias"] = np.zeros(3, np.float32)
    state["mystery"] = np.zeros(1, np.float32)
    faults = (
        r"missing net\.features_0\.bias",
        r"features_3\.squeeze\.bias has shape \(3,\)",
        r"unknown mystery",
    )
    with pytest.raises(ValueError, match=".*".join(faults)):
        convert_lpips(state, "squeeze")


def test_bad_input_is_one_clear_line(params):
    x, y = image_pairs()
    with pytest.raises(ValueError, match="expected one of"):
        lpips(params, x, y, net="resnet")
    with pytest.raises(ValueError, match="at least 32x32"):
        lpips(params, x[:, :31], y[:, :31])
    with pytest.raises(ValueError, match="not shipped"):
        load_lpips(net="alex")


@pytest.mark.parity
def test_the_values_in_the_documentation_of_torchmetrics(params, distance):
    """0.1024 and 0.0938 for the inputs drawn by torch's generator 42."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(42)
    x, y = (
        torch.rand(2, 3, 100, 100, generator=generator).numpy() * 2 - 1
        for _ in range(2)
    )
    distances = distance(params, x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1))
    # half of the last documented decimal
    np.testing.assert_allclose(distances, [0.1024, 0.0938], atol=6e-5)
