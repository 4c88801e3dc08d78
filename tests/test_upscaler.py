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
# one size for all tests: every other is a compilation
SIZE = {"height": 16, "width": 20}


def pixels(
    count: int, batch: int = 1, dtype: type = np.uint8, seed: int = 1
) -> np.ndarray:
    """[count, batch, h, w, 3] in the range of ``dtype``."""
    unit = frames(count, batch, seed=seed, **SIZE) / 2 + 0.5
    if dtype is np.float32:
        return unit.astype(dtype)
    levels = unit * np.iinfo(dtype).max
    return np.round(levels).astype(dtype)


def clip_of(count: int, seed: int = 1) -> np.ndarray:
    """Frames of one stream, uint8 [count, h, w, 3]."""
    return pixels(count, seed=seed)[:, 0]


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
    is_float = dtype is np.float32
    white = 1 if is_float else np.iinfo(dtype).max
    # integers are rounded; two programs of the same arithmetic differ by 1e-5
    tolerance = 1e-5 * white + (0 if is_float else 0.5)
    run = compiled(config)
    state = init_state(config, 1, 16, 20, seed=5)
    with Upscaler(MODEL, seed=5) as upscaler:
        for frame in pixels(3, dtype=dtype):
            lr = jnp.asarray(frame, jnp.float32) * (2 / white) - 1
            state, sr = run(ready, state, lr)
            share = np.clip(np.asarray(sr[0]) / 2 + 0.5, 0, 1)
            result = upscaler.push(frame[0])
            assert result.shape == (64, 80, 3)
            assert result.dtype == dtype
            np.testing.assert_allclose(result, white * share, atol=tolerance)


def test_warming_up_makes_the_program_and_changes_no_frame() -> None:
    clip = clip_of(3)
    with Upscaler(MODEL) as cold, Upscaler(MODEL) as warm:
        warm.warm_up(**SIZE)
        num_programs = warm._run._cache_size()
        for frame in clip:
            assert_same_push(warm, cold, frame)
        # in mid-stream as well
        warm.warm_up(**SIZE)
        assert_same_push(warm, cold, clip[0])
        assert warm._run._cache_size() == num_programs
        with pytest.raises(ValueError, match="expected equal frames"):
            warm.warm_up(8, 8)


def assert_same_push(one: Upscaler, other: Upscaler, frame: np.ndarray) -> None:
    np.testing.assert_array_equal(one.push(frame), other.push(frame))


def test_graphs_begin_behind_the_plain_program_and_change_no_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a CPU the options mean nothing, so that the two programs agree exactly."""
    monkeypatch.setattr("sdvsr_jax.ops.xla.CPU_OPTIONS", {})
    plain = Upscaler(MODEL)
    monkeypatch.setattr("sdvsr_jax.upscaler.device_kind", lambda device: ("cuda", 9.0))
    with plain, Upscaler(MODEL) as upscaler:
        first = upscaler._run
        for frame in clip_of(3):
            assert_same_push(upscaler, plain, frame)
        assert upscaler._run is not first
        assert first._cache_size() == 1
        assert upscaler._run._cache_size() == 1


def test_where_graphs_fail_the_plain_program_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = Upscaler(MODEL)
    monkeypatch.setattr("sdvsr_jax.upscaler.device_kind", lambda device: ("cuda", 9.0))
    # An option that XLA refuses, as it would a graph that it cannot record.
    unknown = {"xla_gpu_no_such_option": "1"}
    monkeypatch.setattr("sdvsr_jax.ops.xla.GRAPH_OPTIONS", unknown)
    with plain, Upscaler(MODEL) as upscaler:
        first = upscaler._run
        for frame in clip_of(3):
            assert_same_push(upscaler, plain, frame)
        assert upscaler._run is first


def test_the_iterator_gives_what_push_gives_whatever_is_in_flight() -> None:
    clip = clip_of(4)
    frames_read = []

    def source():
        for frame in clip:
            frames_read.append(frame)
            yield frame

    with Upscaler(MODEL) as upscaler:
        first, *others = [upscaler.push(frame) for frame in clip]
        for in_flight in (0, 1, 9):
            upscaler.reset()
            frames_read.clear()
            results = upscaler.upscale(source(), in_flight=in_flight)
            np.testing.assert_array_equal(next(results), first)
            # with 0 a frame comes out before the next is read
            assert len(frames_read) == min(1 + in_flight, len(clip))
            np.testing.assert_array_equal(list(results), others)


def test_a_stream_that_joins_is_a_fresh_stream_and_its_neighbour_notices_nothing(
    pair: Upscaler,
) -> None:
    ours = clip_of(4)
    theirs = clip_of(4, seed=9)
    pair.reset()
    expected = [pair.push_many([frame, None])[0] for frame in ours]
    fresh = [pair.push_many([None, frame])[1] for frame in theirs[2:]]

    pair.reset()
    before = [pair.push_many([ours[i], theirs[3 - i]]) for i in range(2)]
    pair.reset(1)
    after = [pair.push_many([ours[i], theirs[i]]) for i in (2, 3)]
    neighbour = [frame for frame, _ in before + after]
    np.testing.assert_array_equal(neighbour, expected)
    newcomer = [frame for _, frame in after]
    np.testing.assert_array_equal(newcomer, fresh)


def test_a_stream_without_a_frame_keeps_its_memory(pair: Upscaler) -> None:
    clip = clip_of(3)
    pair.reset()
    steady = [pair.push_many([frame, clip[0]])[0] for frame in clip]
    pair.reset()
    halting = []
    for frame in clip:
        result, _ = pair.push_many([frame, clip[0]])
        halting.append(result)
        nothing, _ = pair.push_many([None, clip[1]])
        assert nothing is None
    np.testing.assert_array_equal(halting, steady)
    assert pair.push_many([None, None]) == [None, None]


def test_state_goes_to_another_process_and_on(tmp_path: Path) -> None:
    clip = clip_of(4)
    path = tmp_path / "state.npz"
    with Upscaler(MODEL, seed=2) as upscaler:
        expected = [upscaler.push(frame) for frame in clip]
        upscaler.reset()
        for frame in clip[:2]:
            upscaler.push(frame)
        np.savez(path, **upscaler.export_state())
    # the seed is the state's
    with Upscaler(MODEL, seed=99) as other, np.load(path) as state:
        other.restore_state(state, 16, 20)
        results = [other.push(frame) for frame in clip[2:]]
        np.testing.assert_array_equal(results, expected[2:])
        with pytest.raises(ValueError, match="another model"):
            other.restore_state(state, 64, 64)


def test_a_frame_of_another_size_leaves_a_restored_state_usable() -> None:
    clip = clip_of(3)
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
            # not by an exception: the child would go on with the other tests
            try:
                upscaler.push(GOOD)
            except RuntimeError as error:
                says_so = "before the process was forked" in str(error)
                os._exit(42 if says_so else 1)
            os._exit(2)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42


def test_one_program_serves_joining_leaving_and_idle_streams(pair: Upscaler) -> None:
    pair.reset()
    pair.push_many([GOOD, None])
    pair.reset(0)
    pair.push_many([None, GOOD])
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
