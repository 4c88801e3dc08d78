"""Laws of the stream: what every driver of `step` may rely on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import (
    StreamState,
    compiled_step,
    init_state,
    prepare,
    reset,
    rollout,
    step,
    stream,
)
from sdvsr_jax.stream import frame_noise, padded_size
from sdvsr_jax.tiles import images_of
from tests.tiny_models import frames, random_params, tiny

FORMS = ("published", "nano", "restored")
TOLERANCE = 1e-5
"""Two compiled programs of the same float32 arithmetic: rounding of outputs near 1, a
few dozen operations deep.
"""


def drive(form: str, clip: np.ndarray, state: StreamState | None = None) -> np.ndarray:
    """All frames of a clip [f, b, h, w, 3] through the jitted step."""
    config, params = tiny(form)
    _, batch, height, width, _ = clip.shape
    state = init_state(config, batch, height, width) if state is None else state
    return np.stack(
        [np.asarray(sr) for sr in stream(params, state, clip, config=config)]
    )


@functools.cache
def reference(form: str) -> np.ndarray:
    return drive(form, frames(4))


@pytest.fixture(params=["published", "nano", "restored"])
def form(request: pytest.FixtureRequest) -> str:
    return request.param


def test_scan_agrees_with_the_loop(form: str) -> None:
    config, params = tiny(form)
    state = init_state(config, 1, 32, 36)
    final, scanned = jax.jit(functools.partial(rollout, config=config))(
        params, state, frames(4)
    )
    np.testing.assert_allclose(scanned, reference(form), atol=TOLERANCE)
    assert int(final.frame_index[0]) == 4


def test_chunks_agree_with_the_loop(form: str) -> None:
    config, params = tiny(form)
    clip, state = frames(4), init_state(config, 1, 32, 36)
    chunked = []
    run = jax.jit(functools.partial(rollout, config=config))
    for part in (clip[:2], clip[2:]):
        state, out = run(params, state, part)
        chunked.append(out)
    np.testing.assert_allclose(np.concatenate(chunked), reference(form), atol=TOLERANCE)


def test_the_same_driver_gives_the_same_bytes_whatever_its_lookahead(form: str) -> None:
    config, params = tiny(form)
    for in_flight in (0, 3):
        state = init_state(config, 1, 32, 36)
        again = np.stack(
            list(stream(params, state, frames(4), config=config, in_flight=in_flight))
        )
        assert again.tobytes() == reference(form).tobytes()


def test_the_past_does_not_depend_on_the_future(form: str) -> None:
    clip = frames(4)
    clip[2] = -clip[2]
    changed = drive(form, clip)
    assert changed[:2].tobytes() == reference(form)[:2].tobytes()
    assert np.abs(changed[2:] - reference(form)[2:]).max(axis=(1, 2, 3, 4)).min() > 1e-3


def test_derivatives_flow_forwards_in_time_only(form: str) -> None:
    config, params = tiny(form)
    state = init_state(config, 1, 32, 32)

    def energy_of_frame_1(clip: jax.Array) -> jax.Array:
        return jnp.sum(rollout(params, state, clip, config=config)[1][1] ** 2)

    clip = jnp.asarray(frames(3, height=32, width=32))
    # forward mode: the same derivative as training's, and several times sooner compiled
    change = jax.jit(
        lambda direction: jax.jvp(energy_of_frame_1, (clip,), (direction,))[1]
    )
    changes = [
        float(change(jnp.zeros_like(clip).at[index].set(1.0))) for index in range(3)
    ]
    assert changes[0] != 0
    assert changes[1] != 0
    assert changes[2] == 0
    assert np.isfinite(changes).all()


def test_frame_0_ignores_whatever_the_state_holds(form: str) -> None:
    config, _ = tiny(form)
    fresh = init_state(config, 1, 32, 36)
    images = images_of(fresh)
    poison = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), images)
    poisoned = fresh._replace(**poison)
    assert drive(form, frames(2), poisoned).tobytes() == reference(form)[:2].tobytes()


def test_a_reset_stream_starts_afresh_and_leaves_its_neighbour_alone(form: str) -> None:
    config, params = tiny(form)
    clip = frames(4, batch=2)
    run = compiled_step(config)
    state, plain = init_state(config, 2, 32, 36), drive(form, clip)
    for frame in clip[:2]:
        state, _ = run(params, state, frame)
    state = reset(state, jnp.array([True, False]))
    state, out = run(params, state, clip[0])
    assert np.asarray(out[0]).tobytes() == plain[0, 0].tobytes()
    assert int(state.frame_index[0]) == 1
    assert int(state.frame_index[1]) == 3


def test_rows_of_a_batch_do_not_influence_each_other(form: str) -> None:
    clip = frames(3, batch=2)
    alone = drive(form, clip)
    other = clip.copy()
    other[:, 1:] = frames(3, seed=7)
    assert drive(form, other)[:, 0].tobytes() == alone[:, 0].tobytes()


def test_noise_depends_on_seed_stream_and_frame_alone() -> None:
    config, _ = tiny("published")

    def drawn(
        seed: int, stream: int, index: int, size: tuple[int, int] = (4, 5)
    ) -> np.ndarray:
        state = init_state(
            config, 2, 32, 32, seed=seed, streams=jnp.array([77, stream])
        )
        return np.asarray(
            frame_noise(
                state._replace(frame_index=jnp.array([3, index])), size, config
            )[1]
        )

    noise = drawn(3, 5, 0)
    np.testing.assert_array_equal(noise, drawn(3, 5, 0))
    for other in (drawn(4, 5, 0), drawn(3, 9, 0), drawn(3, 5, 1)):
        assert np.abs(noise - other).min() > 0
    assert abs(drawn(3, 5, 7, (64, 64)).std() - 1) < 0.02


def test_nano_keeps_the_noise_of_its_stream() -> None:
    config, _ = tiny("nano")
    first = init_state(config, 1, 32, 32, seed=3)
    later = first._replace(frame_index=jnp.array([9]))
    np.testing.assert_array_equal(
        frame_noise(first, (4, 5), config), frame_noise(later, (4, 5), config)
    )


def test_one_compilation_serves_every_frame_and_state_is_constant_in_size(
    form: str,
) -> None:
    config, params = tiny(form)
    traces = []

    def traced(*args):
        traces.append(args)
        return step(*args, config=config)

    run, state, sizes = jax.jit(traced), init_state(config, 1, 32, 36), set()
    for frame in frames(5):
        state, _ = run(params, state, frame)
        sizes.add(tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves(state)))
    state, _ = run(params, reset(state, jnp.array([True])), frames(1)[0])
    assert len(traces) == 1
    assert len(sizes) == 1
    assert sizes.pop() == tuple(
        (x.shape, str(x.dtype)) for x in jax.tree.leaves(init_state(config, 1, 32, 36))
    )


def test_the_step_gives_the_old_states_memory_away() -> None:
    config, params = tiny("nano")
    state = init_state(config, 1, 32, 36)
    compiled_step(config)(params, state, frames(1)[0])
    assert state.prev_sr.is_deleted()


@pytest.mark.parametrize(
    ("form", "height", "width"), [("published", 1, 1), ("nano", 5, 7), ("nano", 33, 50)]
)
def test_any_size_goes_in_and_four_times_that_comes_out(
    form: str, height: int, width: int
) -> None:
    clip = frames(2, height=height, width=width)
    out = drive(form, clip)
    assert out.shape == (2, 1, 4 * height, 4 * width, 3)
    assert np.isfinite(out).all()


def test_padding_repeats_edges_and_never_crops() -> None:
    config, _ = tiny("published")
    assert padded_size(180, 320, config) == (180, 320)
    assert padded_size(33, 1, config) == (36, 32)
    with pytest.raises(ValueError, match=r"0x5.*at least 1x1"):
        padded_size(5, 0, config)
    with pytest.raises(ValueError, match="batch of 0"):
        init_state(config, 0, 32, 32)


@pytest.mark.parametrize("field", ["use_guidance", "use_tpm"])
def test_each_temporal_part_matters_only_with_history(field: str) -> None:
    config, params = tiny("published")
    without = dataclasses.replace(config, **{field: False})
    out = np.stack(
        list(stream(params, init_state(config, 1, 32, 36), frames(3), config=without))
    )
    difference = np.abs(out - reference("published")[:3]).max(axis=(1, 2, 3, 4))
    assert difference[0] <= TOLERANCE
    assert difference[1:].min() > 1e-3


def test_a_bfloat16_model_follows_the_float32_one(form: str) -> None:
    config, _ = tiny(form)
    half = dataclasses.replace(config, compute_dtype="bfloat16")
    params = prepare(random_params(config), half)
    out = np.stack(
        list(stream(params, init_state(half, 1, 32, 36), frames(2), config=half))
    )
    error = np.sqrt(
        np.mean((out - reference(form)[:2]) ** 2) / np.mean(reference(form)[:2] ** 2)
    )
    # 8 bits of mantissa (0.4 %) through about 40 layers of random, unnormalised weights
    assert 1e-5 < error < 0.1


def test_a_cut_restarts_the_history_of_nano() -> None:
    config, params = tiny("nano")
    strict = dataclasses.replace(
        config, history=dataclasses.replace(config.history, consistency_sigma=0.15)
    )
    before, after = frames(2), frames(2, seed=9)
    run = compiled_step(strict)
    state = init_state(strict, 1, 32, 36)
    for frame in before:
        state, _ = run(params, state, frame)
    _, spliced = run(params, state, after[0])
    index = init_state(strict, 1, 32, 36)._replace(
        frame_index=jnp.array([2], jnp.int32)
    )
    _, fresh = run(params, index, after[0])
    np.testing.assert_array_equal(spliced, fresh)
