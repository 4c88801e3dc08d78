"""Laws of the restorer: degrees, and that everything behind it sees the repaired
frame.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import ModelConfig, init_state, prepare, stream
from sdvsr_jax.models.restorer import Restorer
from sdvsr_jax.state import AUTO
from sdvsr_jax.types import Params
from tests.tiny_models import compiled, frames, random_params, tiny, tiny_restored

# sides that differ: one that is taken for the other shows
SIZE = (32, 36)


def drive(clip: np.ndarray, restore: float) -> tuple[np.ndarray, np.ndarray]:
    """SR frames and the frames that the networks saw, at one degree."""
    config, params = tiny("restored")
    state = init_state(config, clip.shape[1], *SIZE, restore=restore)
    outputs = []
    inputs = []
    for frame in clip:
        state, sr = compiled(config)(params, state, frame)
        outputs.append(np.asarray(sr))
        inputs.append(np.asarray(state.prev_lr))
    return np.stack(outputs), np.stack(inputs)


def test_at_degree_0_the_networks_see_the_very_same_frame() -> None:
    clip = frames(3)
    _, inputs = drive(clip, 0.0)
    np.testing.assert_array_equal(inputs, clip)


def test_at_degree_0_the_output_is_that_of_the_model_without_a_restorer() -> None:
    config = tiny_restored()
    params = random_params(config)
    plain_config = dataclasses.replace(config, restorer=None)
    plain_params = {name: params[name] for name in params if name != "restorer"}
    clip = frames(3)

    def upscale(model: ModelConfig, weights: Params) -> np.ndarray:
        prepared = prepare(weights, model)
        state = init_state(model, 1, *SIZE, restore=0.0)
        outputs = stream(compiled(model), prepared, state, clip)
        return np.stack([np.asarray(sr) for sr in outputs])

    plain = upscale(plain_config, plain_params)
    faithful = upscale(config, params)
    # two programs of the same arithmetic: XLA fuses them differently
    np.testing.assert_allclose(faithful, plain, atol=2e-5)


def test_degrees_scale_the_repair_and_auto_stays_between_none_and_all() -> None:
    clip = frames(1)
    _, full = drive(clip, 1.0)
    _, half = drive(clip, 0.5)
    _, auto = drive(clip, AUTO)
    residual = full - clip
    # the tiny random network does repair something
    assert np.abs(residual).max() > 0.1
    # one rounding of pixels near 1
    np.testing.assert_allclose(half - clip, residual / 2, atol=1e-6)
    # a share of less could be its rounding
    is_repaired = np.abs(residual) >= 1e-3
    share = (auto - clip)[is_repaired] / residual[is_repaired]
    assert share.min() > 0
    assert share.max() < 1


def test_one_program_serves_all_degrees_and_each_stream_has_its_own() -> None:
    config, params = tiny("restored")
    clip = frames(2, batch=2)
    faithful, _ = drive(clip, 0.0)
    run: Any = compiled(config)
    programs = run._cache_size()
    outputs = {}
    for degrees in ((0.0, 1.0), (1.0, AUTO)):
        state = init_state(config, 2, *SIZE)._replace(restore=jnp.array(degrees))
        for frame in clip:
            state, sr = run(params, state, frame)
        outputs[degrees] = np.asarray(sr)
    assert run._cache_size() == programs
    full, _ = drive(clip, 1.0)
    auto, _ = drive(clip, AUTO)
    # one program: rows of a batch differ by less than a rounding of its sums
    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    of_none, of_all = outputs[0.0, 1.0]
    close(of_none, faithful[-1, 0])
    close(of_all, full[-1, 1])
    _, of_auto = outputs[1.0, AUTO]
    close(of_auto, auto[-1, 1])


@pytest.mark.parametrize("restore", [0.0, 1.0, AUTO])
def test_the_output_agrees_with_what_the_networks_saw(restore: float) -> None:
    """Back-projection is towards the repaired frame, not towards the input."""
    from sdvsr_jax.ops.resize import downsample_bicubic

    clip = frames(2)
    outputs, inputs = drive(clip, restore)
    last = jnp.asarray(outputs[-1])
    reduced = np.asarray(downsample_bicubic(last, 4))
    to_seen = np.abs(reduced - inputs[-1]).mean()
    to_input = np.abs(reduced - clip[-1]).mean()
    assert to_seen <= to_input
    if restore != 0:
        # one step of back-projection leaves a tenth of the tiny network's repair
        assert to_seen < 0.5 * to_input


@functools.cache
def fresh() -> tuple[Restorer, dict]:
    net = Restorer(tiny_restored().restorer)
    lr = jnp.zeros((1, 16, 16, 3))
    memory = jnp.zeros((1, 8, 8, 4))
    return net, net.init(jax.random.key(0), lr, lr, memory, lr[..., :1])


def test_a_fresh_restorer_repairs_nothing() -> None:
    net, variables = fresh()
    lr = jax.random.uniform(jax.random.key(1), (1, 16, 16, 3))
    validity = lr[..., :1]
    memory = jnp.zeros((1, 8, 8, 4))
    repair = net.apply(variables, lr, lr, memory, validity)
    np.testing.assert_array_equal(repair.residual, np.zeros_like(lr))
