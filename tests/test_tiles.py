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


# every example compiles programs of its own sizes
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
    height, width = grid.tile
    frame_height, frame_width = grid.frame
    for origin, bounds in zip(grid.origins, grid.bounds):
        top, column = origin
        assert top % step_size == 0
        assert column % step_size == 0
        bottom = top + height
        right = column + width
        assert bottom <= frame_height
        assert right <= frame_width
        weights = weights_of(np.array(origin), np.array(bounds), grid.tile, 1.0)
        total[top:bottom, column:right] += np.asarray(weights)[..., 0]
    # float32 quotients of ramps, of up to four tiles that meet
    np.testing.assert_allclose(total, 1, atol=1e-4)


@functools.cache
def calm() -> tuple[ModelConfig, Prepared]:
    """The tiny model with a quieter last layer: fully random networks amplify any
    rounding from frame to frame.
    """
    config = tiny_nano()
    params = random_params(config)
    last = params["vae"]["decoder"]["layers_4"]
    for name in ("kernel", "bias"):
        last[name] = 0.05 * last[name]
    return config, prepare(params, config)


def whole(clip: np.ndarray, seed: int = 0) -> np.ndarray:
    config, params = calm()
    height, width = clip.shape[2:4]
    state = init_state(config, 1, height, width, seed=seed)
    run = jax.jit(step, static_argnames="config")
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
    validity_of = jax.jit(functools.partial(tile_validity, grid=grid, config=config))
    add = jax.jit(functools.partial(add_tile, grid=grid, config=config))
    state = init_state(config, 1, height, width)
    outputs = []
    tiles = [
        (jnp.array(origin, jnp.int32), jnp.array(bounds))
        for origin, bounds in zip(grid.origins, grid.bounds)
    ]
    for frame in map(jnp.asarray, clip):
        noise = frame_noise(state, grid.frame, config)
        validity = sum(validity_of(params, state, frame, *tile) for tile in tiles)
        cut = validity < config.history.cut_validity
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
    scene = frames(2, 1, 96, 112)
    other_scene = frames(1, 1, 96, 112, seed=5)
    clip = np.concatenate([scene, other_scene])
    expected = whole(clip)
    seams = np.abs(in_tiles(clip, 32) - expected)
    # of a range of 2
    assert seams.max() < 2 / 255
    other_noise = np.abs(whole(clip, seed=1) - expected)
    assert other_noise.max() > 20 / 255


def test_memory_before_compilation_is_close_to_the_compiler_s():
    config, params = tiny("nano")
    state = init_state(config, 1, 64, 96)
    frame = jnp.zeros((1, 64, 96, 3))

    def run(params, state, frame):
        return step(params, state, frame, config=config)

    traced = jax.jit(run, donate_argnums=1).lower(params, state, frame)
    analysis = traced.compile().memory_analysis()
    estimate = peak_bytes(run, params, state, frame)
    ratio = estimate / analysis.temp_size_in_bytes
    # the order of steps is guessed before compilation, and XLA packs buffers with gaps
    assert abs(ratio - 1) < 0.2
