"""Laws of the stream, which every driver of `step` may rely on."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from sdvsr_jax import (
    Prepared,
    StreamState,
    init_state,
    prepare,
    reset,
    rollout,
    step,
    stream,
)
from sdvsr_jax.stream import frame_noise, padded_size
from sdvsr_jax.tiles import images_of
from tests.tiny_models import compiled, frames, random_params, tiny

FORMS = ("published", "nano", "restored")
ALL_LAYERS = ("published", "restored")
"""Forms for laws that compile a program of their own: `restored` holds `nano`."""
TOLERANCE = 1e-5
"""Two compiled programs of the same float32 arithmetic: rounding of outputs near 1, a
few dozen operations deep.
"""
# sides that differ: one that is taken for the other shows
SIZE = (32, 36)
# a first frame, one with history, and two whose history was made from history
FRAMES = 4


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=(*FORMS, "raft"))
def any_form(request: pytest.FixtureRequest) -> str:
    """The laws of one program hold with RAFT as well."""
    return request.param


def pair(count: int = FRAMES) -> np.ndarray:
    """Two streams: one batch size, so one program serves nearly all laws."""
    return frames(count, batch=2)


def fresh_state(form: str) -> StreamState:
    config, _ = tiny(form)
    return init_state(config, 2, *SIZE)


def drive(form: str, clip: np.ndarray, state: StreamState | None = None) -> np.ndarray:
    """All frames of a clip [f, b, h, w, 3] through the jitted step."""
    config, prepared = tiny(form)
    if state is None:
        _, batch, height, width, _ = clip.shape
        state = init_state(config, batch, height, width)
    outputs = stream(compiled(config), prepared, state, clip)
    return np.stack([np.asarray(sr) for sr in outputs])


@functools.cache
def reference(form: str) -> np.ndarray:
    return drive(form, pair())


@functools.cache
def compiled_rollout(form: str) -> Callable:
    """Returns `rollout`, compiled with its derivative along a change of the frames: one
    program for the laws of both. It gives (state, frames), and their change.
    """
    config, _ = tiny(form)

    @jax.jit
    def run(
        prepared: Prepared, state: StreamState, clip: jax.Array, direction: jax.Array
    ) -> tuple:
        def frames_of(clip: jax.Array) -> tuple[jax.Array, StreamState]:
            state_after, outputs = rollout(prepared, state, clip, config=config)
            return outputs, state_after

        # forward mode: the same derivative as training's, and several times sooner
        # compiled
        outputs, change, state_after = jax.jvp(
            frames_of, (clip,), (direction,), has_aux=True
        )
        return (state_after, outputs), change

    return run


@pytest.mark.parametrize("form", ALL_LAYERS)
def test_a_scan_in_chunks_agrees_with_the_loop(form: str) -> None:
    _, prepared = tiny(form)
    run = compiled_rollout(form)
    clip = pair()
    still = np.zeros_like(clip[:2])
    state = fresh_state(form)
    chunks = []
    for start in (0, 2):
        (state, out), _ = run(prepared, state, clip[start : start + 2], still)
        chunks.append(out)
    scanned = np.concatenate(chunks)
    # relative as well: frames of random weights reach 4, not 1
    np.testing.assert_allclose(scanned, reference(form), rtol=TOLERANCE, atol=TOLERANCE)
    assert state.frame_index.tolist() == [FRAMES, FRAMES]


@pytest.mark.parametrize("in_flight", [0, 3])
def test_the_same_driver_gives_the_same_bytes_whatever_its_lookahead(
    form: str, in_flight: int
) -> None:
    config, prepared = tiny(form)
    state = fresh_state(form)
    outputs = stream(compiled(config), prepared, state, pair(), in_flight=in_flight)
    frames_out = np.stack(list(outputs))
    assert frames_out.tobytes() == reference(form).tobytes()


def test_the_past_does_not_depend_on_the_future(any_form: str) -> None:
    expected = reference(any_form)
    clip = pair()
    clip[2] = -clip[2]
    outputs = drive(any_form, clip)
    assert outputs[:2].tobytes() == expected[:2].tobytes()
    difference = np.abs(outputs[2:] - expected[2:])
    change = difference.max(axis=(1, 2, 3, 4))
    # a negative frame is another picture: far more than any rounding
    assert change.min() > 1e-3


@pytest.mark.parametrize("form", ALL_LAYERS)
def test_derivatives_flow_forwards_in_time_only(form: str) -> None:
    _, prepared = tiny(form)
    clip = pair(2)
    run = compiled_rollout(form)

    def changes_by(index: int) -> np.ndarray:
        """Largest change of either frame where that one of the clip changes."""
        direction = np.zeros_like(clip)
        direction[index] = 1
        state = fresh_state(form)
        _, change = run(prepared, state, clip, direction)
        return np.abs(change).max(axis=(1, 2, 3, 4))

    by_first = changes_by(0)
    assert np.isfinite(by_first).all()
    assert by_first.min() > 0
    of_first, of_second = changes_by(1)
    assert of_first == 0
    assert np.isfinite(of_second)
    assert of_second > 0


def test_frame_0_ignores_whatever_the_state_holds(any_form: str) -> None:
    fresh = fresh_state(any_form)
    images = images_of(fresh)
    poison = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), images)
    outputs = drive(any_form, pair(2), fresh._replace(**poison))
    assert outputs.tobytes() == reference(any_form)[:2].tobytes()


def test_a_reset_stream_starts_afresh_and_leaves_its_neighbour_alone(
    any_form: str,
) -> None:
    config, prepared = tiny(any_form)
    run = compiled(config)
    clip = pair()
    state = fresh_state(any_form)
    for frame in clip[:2]:
        state, _ = run(prepared, state, frame)
    # the other stream goes on with its third frame
    mixed = clip[2].copy()
    mixed[0] = clip[0, 0]
    state = reset(state, jnp.array([True, False]))
    state, out = run(prepared, state, mixed)
    expected = reference(any_form)
    assert np.asarray(out[0]).tobytes() == expected[0, 0].tobytes()
    assert np.asarray(out[1]).tobytes() == expected[2, 1].tobytes()
    assert state.frame_index.tolist() == [1, 3]


def test_rows_of_a_batch_do_not_influence_each_other(any_form: str) -> None:
    clip = pair(3)
    clip[:, 1:] = frames(3, seed=7)
    outputs = drive(any_form, clip)
    assert outputs[:, 0].tobytes() == reference(any_form)[:3, 0].tobytes()


def test_noise_depends_on_seed_stream_and_frame_alone() -> None:
    config, _ = tiny("published")

    def noise_of(
        seed: int, stream: int, index: int, size: tuple[int, int] = (4, 5)
    ) -> np.ndarray:
        streams = jnp.array([77, stream])
        state = init_state(config, 2, *SIZE, seed=seed, streams=streams)
        state = state._replace(frame_index=jnp.array([3, index]))
        _, noise = frame_noise(state, size, config)
        return np.asarray(noise)

    noise = noise_of(3, 5, 0)
    np.testing.assert_array_equal(noise, noise_of(3, 5, 0))
    of_seed = noise_of(4, 5, 0)
    of_stream = noise_of(3, 9, 0)
    of_index = noise_of(3, 5, 1)
    for other in (of_seed, of_stream, of_index):
        assert np.abs(noise - other).min() > 0
    large = noise_of(3, 5, 7, (64, 64))
    # the deviation of 16384 numbers is known to 0.6 %
    assert abs(large.std() - 1) < 0.02


def test_nano_keeps_the_noise_of_its_stream() -> None:
    config, _ = tiny("nano")
    first = init_state(config, 1, *SIZE, seed=3)
    later = first._replace(frame_index=jnp.array([9]))
    expected = frame_noise(first, (4, 5), config)
    np.testing.assert_array_equal(frame_noise(later, (4, 5), config), expected)


def shapes_of(state: StreamState) -> list[tuple]:
    return [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(state)]


def test_one_program_serves_every_frame_and_the_state_keeps_its_size(
    form: str,
) -> None:
    config, prepared = tiny(form)
    run: Any = compiled(config)
    state = fresh_state(form)
    expected = shapes_of(state)
    state, _ = run(prepared, state, pair(1)[0])
    programs = run._cache_size()
    for frame in pair(3)[1:]:
        state, _ = run(prepared, state, frame)
        assert shapes_of(state) == expected
    again = reset(state, jnp.array([True, False]))
    run(prepared, again, pair(1)[0])
    assert run._cache_size() == programs


def test_the_step_gives_the_old_states_memory_away() -> None:
    config, prepared = tiny("nano")
    state = fresh_state("nano")
    compiled(config)(prepared, state, pair(1)[0])
    assert state.prev_sr.is_deleted()


@pytest.mark.parametrize(
    ("form", "height", "width"),
    [
        pytest.param("published", 1, 1, marks=pytest.mark.heavy(10)),
        ("nano", 1, 1),
        ("nano", 33, 50),
    ],
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
    config, prepared = tiny("published")
    without = dataclasses.replace(config, **{field: False})
    state = fresh_state("published")
    outputs = list(stream(compiled(without), prepared, state, pair(3)))
    difference = np.abs(outputs - reference("published")[:3])
    first, *others = difference.max(axis=(1, 2, 3, 4))
    assert first <= TOLERANCE
    # random weights: every part moves the picture visibly
    assert min(others) > 1e-3


@pytest.mark.parametrize("form", ALL_LAYERS)
def test_a_bfloat16_model_follows_the_float32_one(form: str) -> None:
    config, _ = tiny(form)
    half = dataclasses.replace(config, compute_dtype="bfloat16")
    prepared = prepare(random_params(config), half)
    state = fresh_state(form)
    outputs = np.stack(list(stream(compiled(half), prepared, state, pair(2))))
    expected = reference(form)[:2]
    share = np.mean((outputs - expected) ** 2) / np.mean(expected**2)
    error = np.sqrt(share)
    # 8 bits of mantissa (0.4 %) through about 40 layers of random, unnormalised weights
    assert 1e-5 < error < 0.1


def test_a_cut_restarts_the_history_of_nano() -> None:
    config, prepared = tiny("nano")
    # the wide sigma of the tiny model would take a cut for motion
    history = dataclasses.replace(config.history, consistency_sigma=0.15)
    strict = dataclasses.replace(config, history=history)
    run = compiled(strict)
    state = init_state(strict, 1, *SIZE)
    for frame in frames(2):
        state, _ = run(prepared, state, frame)
    other = frames(1, seed=9)[0]
    _, spliced = run(prepared, state, other)
    # a stream that begins there, with the noise of the same frame
    fresh = init_state(strict, 1, *SIZE)
    fresh = fresh._replace(frame_index=jnp.array([2], jnp.int32))
    _, expected = run(prepared, fresh, other)
    np.testing.assert_array_equal(spliced, expected)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked, so that a wrong argument reaches the step's own
    check, as it does outside of tests.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def refuses(words: str, prepared: Any, state: StreamState, frame: np.ndarray) -> None:
    config, _ = tiny("nano")
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(functools.partial(step, config=config), prepared, state, frame)


@pytest.mark.usefixtures("unchecked")
def test_raw_parameters_are_refused() -> None:
    config, _ = tiny("nano")
    raw = random_params(config)
    state = init_state(config, 1, 32, 36)
    refuses(r"type dict, expected Prepared: call prepare\(", raw, state, frames(1)[0])


@pytest.mark.usefixtures("unchecked")
def test_pixels_of_eight_bits_are_refused() -> None:
    config, prepared = tiny("nano")
    state = init_state(config, 1, 32, 36)
    pixels = np.zeros((1, 32, 36, 3), np.uint8)
    refuses(r"frame of uint8, expected floats in .* Upscaler", prepared, state, pixels)


@pytest.mark.usefixtures("unchecked")
def test_a_state_of_another_size_is_refused() -> None:
    config, prepared = tiny("nano")
    state = init_state(config, 1, 16, 20)
    words = r"frame of 36x32, .* 20x16 .* init_state\(config, 1, 32, 36\)"
    refuses(words, prepared, state, frames(1)[0])


@pytest.mark.usefixtures("unchecked")
def test_a_frame_without_its_batch_axis_is_refused() -> None:
    config, prepared = tiny("nano")
    state = init_state(config, 1, 32, 36)
    words = r"shape \[32, 36, 3\], expected \[streams, .* by frame\[None\]"
    refuses(words, prepared, state, frames(1)[0, 0])


@pytest.mark.usefixtures("unchecked")
def test_another_number_of_streams_is_refused() -> None:
    config, prepared = tiny("nano")
    state = init_state(config, 1, 32, 36)
    words = r"frames of 2 streams, .* has 1: .* init_state\(config, 2, 32, 36\)"
    refuses(words, prepared, state, frames(1, batch=2)[0])


@pytest.mark.usefixtures("unchecked")
def test_prepared_parameters_are_not_prepared_again() -> None:
    config, prepared = tiny("nano")
    wrong: Any = prepared
    with pytest.raises(ValueError, match=r"prepared already, .* pass these to step"):
        prepare(wrong, config)
