"""The output's clock never runs back and never drifts; latencies are counted in fixed
memory and told truly.
"""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infer.latency import Latency
from infer.sources.clock import MAX_JUMP, Clock

BASE = Fraction(1, 90_000)
FRAME = 3600


def seconds(ticks: int) -> Fraction:
    return ticks * BASE


@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(2**33), 2**33)), min_size=1, max_size=50
    )
)
def test_time_goes_forward_from_zero_for_any_source(
    source_times: list[int | None],
) -> None:
    clock = Clock(BASE, FRAME)
    times = []
    for ticks in source_times:
        times.append(clock.ticks(None if ticks is None else seconds(ticks)))
    assert times[0] == 0
    for a, b in pairwise(times):
        assert a < b
    # Nothing the source says can make the output stand still.
    for a, b in pairwise(times):
        assert b - a <= MAX_JUMP / BASE


@given(
    st.lists(st.integers(1, 800_000), min_size=1, max_size=50),
    st.integers(-(2**33), 2**33),
)
def test_the_distance_of_two_frames_is_the_sources(
    steps: list[int], start: int
) -> None:
    clock = Clock(BASE, FRAME)
    source_times = start + np.cumsum([0, *steps])
    times = [clock.ticks(seconds(int(ticks))) for ticks in source_times]
    assert times == list(source_times - start)
    assert clock.num_jumps == clock.num_repaired == 0


@given(st.lists(st.integers(0, 200), min_size=1, max_size=50))
def test_frames_of_one_time_stay_apart_in_a_file_of_milliseconds(
    repetitions: list[int],
) -> None:
    """As a network that sends packets twice gives them, 25 frames/s."""
    clock = Clock(BASE, FRAME)
    times = [clock.ticks(seconds(FRAME * (count // 20))) for count in repetitions]
    milliseconds = [round(1000 * seconds(ticks)) for ticks in times]
    for a, b in pairwise(milliseconds):
        assert a < b


def test_two_days_of_ntsc_frames_do_not_drift_and_pass_the_wraps_of_mpeg_ts() -> None:
    frame = 3003
    wrap = 2**33
    clock = Clock(BASE, frame)
    # Nearly ten seconds apart, so that no step counts as a jump.
    stride = 299
    numbers = range(0, 48 * 3600 * 30, stride)
    times = [clock.ticks(seconds((n * frame + 12_345) % wrap)) for n in numbers]
    assert clock.num_jumps == 1
    # Where the clock begins anew, the time between two frames is not known.
    gap = (stride - 1) * frame
    assert times[-1] == numbers[-1] * frame - gap


def test_a_source_that_comes_back_goes_on_after_the_time_it_was_away() -> None:
    clock = Clock(BASE, FRAME)
    expected = [0, FRAME, 2 * FRAME]
    assert [clock.ticks(seconds(n * FRAME)) for n in range(3)] == expected
    clock.reconnect(2.0)
    assert clock.ticks(seconds(999)) == 2 * FRAME + 180_000
    assert clock.ticks(seconds(999 + FRAME)) == 3 * FRAME + 180_000
    assert clock.beside(seconds(999)) == 2 * FRAME + 180_000


def test_a_clock_that_begins_anew_is_one_frame_later() -> None:
    clock = Clock(BASE, FRAME)
    clock.ticks(seconds(2**33 - FRAME))
    assert clock.ticks(seconds(0)) == FRAME
    assert clock.ticks(seconds(5_000_000)) == 2 * FRAME
    assert clock.num_jumps == 2


@pytest.mark.parametrize("scale", [0.001, 0.02, 3.0])
def test_percentiles_are_those_of_numpy(scale: float) -> None:
    values = np.random.default_rng(0).exponential(scale, 5000)
    latency = Latency()
    assert str(latency) == "-"
    for value in values:
        latency.add(value)
    for point, name in ((50, "p50"), (95, "p95"), (99, "p99")):
        exact = np.percentile(values, point, method="inverted_cdf") * 1e3
        # A step of the histogram, and the rounding of its name to 0.1 ms.
        assert exact <= latency.percentiles()[name] <= exact + 0.11
    assert len(latency) == 5000


def test_beyond_a_minute_counts_as_a_minute() -> None:
    latency = Latency()
    latency.add(1e9)
    # The end of the last step, 0.1 ms later.
    assert latency.percentiles()["p50"] == pytest.approx(60_000, abs=0.11)
