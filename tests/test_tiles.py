"""Tiles: they cover the frame, see the frame's own stream and noise, and give the
frame's pixels.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sdvsr_jax import ModelConfig, init_state, prepare, step
from sdvsr_jax.memory import peak_bytes
from sdvsr_jax.stream import frame_noise
from sdvsr_jax.tiles import (
    _weights,
    add_tile,
    alignment,
    empty_state,
    finish_frame,
    make_grid,
    tile_validity,
)
from sdvsr_jax.types import Prepared
from tests.tiny_models import frames, random_params, tiny, tiny_nano

weights_of = jax.jit(_weights, static_argnums=(2, 3))
"""Compiled whole: every example has a size of its own."""


@settings(max_examples=20, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 300)] * 2),
    tile=st.tuples(*[st.integers(1, 200)] * 2),
    overlap=st.integers(0, 40),
)
def test_tiles_cover_every_frame_once(size, tile, overlap):
    config = tiny_nano()
    grid = make_grid(config, *size, tile, overlap)
    step_size = alignment(config)
    total = np.zeros(grid.frame)
    for origin, bounds in zip(grid.origins, grid.bounds):
        top, column = origin
        assert top % step_size == column % step_size == 0
        assert top + grid.tile[0] <= grid.frame[0]
        assert column + grid.tile[1] <= grid.frame[1]
        weights = weights_of(np.array(origin), np.array(bounds), grid.tile, 1.0)
        part = total[top : top + grid.tile[0], column : column + grid.tile[1]]
        part += np.asarray(weights)[..., 0]
    np.testing.assert_allclose(total, 1, atol=1e-4)


@functools.cache
def calm() -> tuple[ModelConfig, Prepared]:
    """The tiny model with a quieter last layer: fully random networks amplify any
    rounding from frame to frame.
    """
    config = tiny_nano()
    params = random_params(config)
    last = params["vae"]["decoder"]["layers_4"]
    last["kernel"], last["bias"] = 0.05 * last["kernel"], 0.05 * last["bias"]
    return config, prepare(params, config)


def whole(clip: np.ndarray, seed: int = 0) -> np.ndarray:
    config, params = calm()
    state, run = (
        init_state(config, 1, *clip.shape[2:4], seed=seed),
        jax.jit(step, static_argnames="config"),
    )
    outputs = []
    for frame in clip:
        state, sr = run(params, state, frame, config=config)
        outputs.append(np.asarray(sr))
    return np.stack(outputs)


def in_tiles(clip: np.ndarray, overlap: int) -> np.ndarray:
    config, params = calm()
    height, width = clip.shape[2:4]
    grid = make_grid(config, height, width, (64, 64), overlap)
    assert len(grid.origins) >= 4
    see = jax.jit(lambda *args: tile_validity(*args, grid=grid, config=config))
    add = jax.jit(lambda *args: add_tile(*args, grid=grid, config=config))
    state, outputs = init_state(config, 1, height, width), []
    tiles = [
        (jnp.array(o, jnp.int32), jnp.array(b))
        for o, b in zip(grid.origins, grid.bounds)
    ]
    for frame in map(jnp.asarray, clip):
        noise = frame_noise(state, grid.frame, config)
        cut = (
            sum(see(params, state, frame, *tile) for tile in tiles)
            < config.history.cut_validity
        )
        total = empty_state(state)
        for tile in tiles:
            total = add(params, state, total, frame, noise, cut, *tile)
        outputs.append(np.asarray(total.prev_sr))
        state = finish_frame(total, frame, config=config)
    return np.stack(outputs)


def test_a_frame_in_tiles_is_the_frame():
    """With noise, history and a scene cut, within one of 255 levels; other noise
    changes far more than that.
    """
    clip = np.concatenate([frames(2, 1, 96, 112), frames(1, 1, 96, 112, seed=5)])
    expected = whole(clip)
    assert np.abs(in_tiles(clip, 32) - expected).max() < 2 / 255
    assert np.abs(whole(clip, seed=1) - expected).max() > 20 / 255


def test_memory_before_compilation_is_close_to_the_compiler_s():
    config, params = tiny("nano")
    state, frame = init_state(config, 1, 64, 96), jnp.zeros((1, 64, 96, 3))

    def run(params, state, frame):
        return step(params, state, frame, config=config)

    compiled = (
        jax.jit(run, donate_argnums=1)
        .lower(params, state, frame)
        .compile()
        .memory_analysis()
    )
    assert (
        abs(peak_bytes(run, params, state, frame) / compiled.temp_size_in_bytes - 1)
        < 0.2
    )
