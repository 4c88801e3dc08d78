"""The convenience class is the pure core and nothing else; streams in a batch are
strangers to each other.
"""

import os
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sdvsr_jax import Upscaler, init_state, prepare
from tests.tiny_models import compiled, frames, random_params, tiny_nano

MODEL = (tiny_nano(), random_params(tiny_nano()))
SIZE = {"height": 16, "width": 20}


def pixels(
    count: int, batch: int = 1, dtype: type = np.uint8, seed: int = 1
) -> np.ndarray:
    """[count, batch, h, w, 3] in the range of ``dtype``."""
    unit = frames(count, batch, seed=seed, **SIZE) / 2 + 0.5
    return (
        unit.astype(dtype)
        if dtype is np.float32
        else np.round(unit * np.iinfo(dtype).max).astype(dtype)
    )


@pytest.fixture(scope="module")
def pair() -> Upscaler:
    """Two streams, compiled once for the tests that need no more; each starts by
    resetting it.
    """
    return Upscaler(MODEL, streams=2, seed=3)


@pytest.fixture(scope="module")
def ready():
    """The parameters, prepared for the pure step."""
    config, params = MODEL
    return prepare(params, config)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_push_is_the_pure_step(dtype: type, ready) -> None:
    config, _ = MODEL
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    run, state = compiled(config), init_state(config, 1, 16, 20, seed=5)
    with Upscaler(MODEL, seed=5) as upscaler:
        for frame in pixels(3, dtype=dtype):
            state, sr = run(
                ready, state, jnp.asarray(frame, jnp.float32) * (2 / top) - 1
            )
            expected = top * np.clip(np.asarray(sr[0]) / 2 + 0.5, 0, 1)
            result = upscaler.push(frame[0])
            assert (result.shape, result.dtype) == ((64, 80, 3), dtype)
            np.testing.assert_allclose(
                result, expected, atol=1e-5 * top + 0.5 * (top > 1)
            )


def test_warming_up_makes_the_program_and_changes_no_frame() -> None:
    clip_frames = pixels(3)[:, 0]
    with Upscaler(MODEL) as cold, Upscaler(MODEL) as warm:
        warm.warm_up(**SIZE)
        num_programs = warm._run._cache_size()
        for frame in clip_frames:
            assert np.array_equal(warm.push(frame), cold.push(frame))
        warm.warm_up(**SIZE)  # in mid-stream as well
        assert np.array_equal(warm.push(clip_frames[0]), cold.push(clip_frames[0]))
        assert warm._run._cache_size() == num_programs
        with pytest.raises(ValueError, match="expected equal frames"):
            warm.warm_up(8, 8)


def test_graphs_begin_behind_the_plain_program_and_change_no_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a CPU the options mean nothing, so that the two programs agree exactly."""
    monkeypatch.setattr("sdvsr_jax.ops.xla.CPU_OPTIONS", {})
    clip_frames = pixels(3)[:, 0]
    plain = Upscaler(MODEL)
    monkeypatch.setattr("sdvsr_jax.upscaler.device_kind", lambda device: ("cuda", 9.0))
    with plain, Upscaler(MODEL) as upscaler:
        first = upscaler._run
        for frame in clip_frames:
            assert np.array_equal(upscaler.push(frame), plain.push(frame))
        assert upscaler._run is not first
        assert upscaler._run._cache_size() == first._cache_size() == 1


def test_where_graphs_fail_the_plain_program_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip_frames = pixels(3)[:, 0]
    plain = Upscaler(MODEL)
    monkeypatch.setattr("sdvsr_jax.upscaler.device_kind", lambda device: ("cuda", 9.0))
    # An option that XLA refuses, as it would a graph that it cannot record.
    refused = {"xla_gpu_no_such_option": "1"}
    monkeypatch.setattr("sdvsr_jax.ops.xla.GRAPH_OPTIONS", refused)
    with plain, Upscaler(MODEL) as upscaler:
        first = upscaler._run
        for frame in clip_frames:
            assert np.array_equal(upscaler.push(frame), plain.push(frame))
        assert upscaler._run is first


def test_the_iterator_gives_what_push_gives_whatever_is_in_flight() -> None:
    clip, read = pixels(4)[:, 0], []

    def source():
        for frame in clip:
            read.append(1)
            yield frame

    with Upscaler(MODEL) as upscaler:
        pushed = [upscaler.push(frame) for frame in clip]
        for in_flight in (0, 1, 9):
            upscaler.reset()
            read.clear()
            results = upscaler.upscale(source(), in_flight=in_flight)
            np.testing.assert_array_equal(next(results), pushed[0])
            assert len(read) == min(
                1 + in_flight, 4
            )  # with 0 a frame comes out before the next is read
            np.testing.assert_array_equal(list(results), pushed[1:])


def test_a_stream_that_joins_is_a_fresh_stream_and_its_neighbour_notices_nothing(
    pair: Upscaler,
) -> None:
    ours, theirs = pixels(4)[:, 0], pixels(4, seed=9)[:, 0]
    pair.reset()
    solo = [pair.push_many([frame, None])[0] for frame in ours]
    fresh = [pair.push_many([None, frame])[1] for frame in theirs[2:]]
    pair.reset()
    shared = [pair.push_many([ours[i], theirs[3 - i]])[0] for i in range(2)]
    pair.reset(1)
    later = [pair.push_many([ours[i], theirs[i]]) for i in (2, 3)]
    np.testing.assert_array_equal(shared + [a for a, _ in later], solo)
    np.testing.assert_array_equal([b for _, b in later], fresh)


def test_a_stream_without_a_frame_keeps_its_memory(pair: Upscaler) -> None:
    clip = pixels(3)[:, 0]
    pair.reset()
    steady = [pair.push_many([frame, clip[0]])[0] for frame in clip]
    pair.reset()
    halting = []
    for frame in clip:
        halting.append(pair.push_many([frame, clip[0]])[0])
        assert pair.push_many([None, clip[1]])[0] is None
    np.testing.assert_array_equal(halting, steady)
    assert pair.push_many([None, None]) == [None, None]


def test_state_goes_to_another_process_and_on(tmp_path: Path) -> None:
    clip = pixels(4)[:, 0]
    with Upscaler(MODEL, seed=2) as upscaler:
        expected = [upscaler.push(frame) for frame in clip]
        upscaler.reset()
        for frame in clip[:2]:
            upscaler.push(frame)
        np.savez(tmp_path / "state.npz", **upscaler.export_state())
    with Upscaler(MODEL, seed=99) as other:
        with np.load(tmp_path / "state.npz") as saved:
            other.restore_state(saved, 16, 20)
        np.testing.assert_array_equal(
            [other.push(frame) for frame in clip[2:]], expected[2:]
        )
        with (
            np.load(tmp_path / "state.npz") as saved,
            pytest.raises(ValueError, match="another model"),
        ):
            other.restore_state(saved, 64, 64)


def test_a_frame_of_another_size_leaves_a_restored_state_usable() -> None:
    clip = pixels(3)[:, 0]
    with Upscaler(MODEL) as upscaler:
        expected = [upscaler.push(frame) for frame in clip]
        upscaler.reset()
        upscaler.push(clip[0])
        state = upscaler.export_state()
    with Upscaler(MODEL) as other:
        other.restore_state(state, 16, 20)
        with pytest.raises(ValueError, match="restored state is of 20x16 frames"):
            other.push(np.zeros((24, 24, 3), np.uint8))
        np.testing.assert_array_equal(other.push(clip[1]), expected[1])


def test_frames_that_differ_settle_no_size() -> None:
    with Upscaler(MODEL, streams=2) as upscaler:
        with pytest.raises(ValueError, match="expected equal frames"):
            upscaler.push_many([np.zeros((24, 24, 3), np.uint8), GOOD])
        assert upscaler.push_many([GOOD, None])[1] is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_says_so() -> None:
    """It would wait for threads that stayed with its parent."""
    with Upscaler(MODEL) as upscaler:
        with warnings.catch_warnings():
            # JAX and Python warn of what is tried here.
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            try:
                upscaler.push(GOOD)
            except RuntimeError as error:
                os._exit(42 if "before the process was forked" in str(error) else 1)
            os._exit(2)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42


def test_one_program_serves_joining_leaving_and_idle_streams(pair: Upscaler) -> None:
    pair.reset()
    pair.push_many([pixels(1)[0, 0], None])
    pair.reset(0)
    pair.push_many([None, pixels(1)[0, 0]])
    assert pair._run._cache_size() == 1  # type: ignore[attr-defined]


GOOD = np.zeros((16, 20, 3), np.uint8)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (GOOD[..., 0], r"shape \(16, 20\), expected \[height, width, 3\]"),
        (GOOD.astype(np.int32), "int32, expected uint8"),
        (np.full((16, 20, 3), 255.0), "from 255 to 255, expected 0 to 1"),
        (np.full((16, 20, 3), np.nan), "expected 0 to 1"),
        (GOOD - 1.0, "from -1 to -1, expected 0 to 1"),
    ],
)
def test_wrong_frames_are_named(pair: Upscaler, frame: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pair.push_many([frame, GOOD])


def test_wrong_use_is_named(pair: Upscaler) -> None:
    pair.reset()
    pair.push_many([GOOD, GOOD])
    with pytest.raises(ValueError, match="use push_many"):
        pair.push(GOOD)
    with pytest.raises(ValueError, match="1 frames for 2 streams"):
        pair.push_many([GOOD])
    with pytest.raises(ValueError, match="began with"):
        pair.push_many([np.zeros((8, 8, 3), np.uint8), GOOD])
    with pytest.raises(ValueError, match="stream 2: expected 0 to 1"):
        pair.reset(2)
    with pytest.raises(ValueError, match="at least 1"):
        Upscaler(MODEL, streams=0)
    closed = Upscaler(MODEL)
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.push(GOOD)
