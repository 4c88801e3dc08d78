"""The published model at its real size runs on this machine (random weights)."""

import jax
import numpy as np
import pytest

from benchmarks.latency import random_params
from sdvsr_jax import compiled_step, init_state, stream_diffvsr
from tests.tiny_models import frames


@pytest.mark.heavy
def test_a_frame_and_its_successor_at_full_size() -> None:
    config = stream_diffvsr()
    params = random_params(config)
    state, clip = init_state(config, 1, 64, 64), frames(2, height=64, width=64)
    outputs = []
    for frame in clip:
        state, sr = compiled_step(config)(params, state, frame)
        outputs.append(np.asarray(sr))
    assert outputs[0].shape == (1, 256, 256, 3)
    assert np.isfinite(outputs).all()
    assert np.std(outputs[1] - outputs[0]) > 0
    assert int(state.frame_index[0]) == 2
    assert sum(x.nbytes for x in jax.tree.leaves(params)) < 3e9
