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


# Most ticks of a transport stream's clock, which has 33 bits.
WRAP = 2**33


def seconds(ticks: int) -> Fraction:
    return ticks * BASE


def check_rise(times: list[int]) -> None:
    for time, later in pairwise(times):
        assert time < later


ANY_TIME = st.integers(-WRAP, WRAP)


@given(st.lists(st.one_of(st.none(), ANY_TIME), min_size=1, max_size=50))
def test_time_goes_forward_from_zero_for_any_source(
    source_times: list[int | None],
) -> None:
    clock = Clock(BASE, FRAME)
    times = []
    for ticks in source_times:
        time = None if ticks is None else seconds(ticks)
        times.append(clock.ticks(time))
    assert times[0] == 0
    check_rise(times)
    # Nothing the source says can make the output stand still.
    longest = MAX_JUMP / BASE
    for time, later in pairwise(times):
        assert later - time <= longest


@given(
    # below ten seconds, from which on a step counts as a jump
    st.lists(st.integers(1, 800_000), min_size=1, max_size=50),
    ANY_TIME,
)
def test_the_distance_of_two_frames_is_the_sources(
    steps: list[int], start: int
) -> None:
    clock = Clock(BASE, FRAME)
    distances = np.cumsum([0, *steps]).tolist()
    times = []
    for distance in distances:
        source_time = seconds(start + distance)
        times.append(clock.ticks(source_time))
    assert times == distances
    assert clock.num_jumps == clock.num_repaired == 0


@given(st.lists(st.integers(0, 200), min_size=1, max_size=50))
def test_frames_of_one_time_stay_apart_in_a_file_of_milliseconds(
    repetitions: list[int],
) -> None:
    """As a network that sends packets twice gives them, 25 frames/s."""
    clock = Clock(BASE, FRAME)
    milliseconds = []
    for count in repetitions:
        # many of them have the time of the one before
        number = count // 20
        ticks = clock.ticks(seconds(FRAME * number))
        milliseconds.append(round(1000 * seconds(ticks)))
    check_rise(milliseconds)


def test_two_days_of_ntsc_frames_do_not_drift_and_pass_the_wraps_of_mpeg_ts() -> None:
    # 90,000 ticks a second, 30,000 frames in 1,001 seconds
    frame = 3003
    clock = Clock(BASE, frame)
    # Nearly ten seconds apart, so that no step counts as a jump.
    stride = 299
    numbers = range(0, 48 * 3600 * 30, stride)
    times = []
    for number in numbers:
        # 12,345: so that no frame falls on the wrap itself
        source_ticks = (number * frame + 12_345) % WRAP
        times.append(clock.ticks(seconds(source_ticks)))
    assert clock.num_jumps == 1
    # Where the clock begins anew, the time between two frames is not known.
    gap = (stride - 1) * frame
    expected = numbers[-1] * frame - gap
    assert times[-1] == expected


def test_a_source_that_comes_back_goes_on_after_the_time_it_was_away() -> None:
    clock = Clock(BASE, FRAME)
    for number in range(3):
        time = number * FRAME
        assert clock.ticks(seconds(time)) == time
    clock.reconnect(2.0)
    # two seconds after the last one
    back = 2 * FRAME + 180_000
    assert clock.ticks(seconds(999)) == back
    assert clock.ticks(seconds(999 + FRAME)) == back + FRAME
    assert clock.beside(seconds(999)) == back


def test_a_clock_that_begins_anew_is_one_frame_later() -> None:
    clock = Clock(BASE, FRAME)
    clock.ticks(seconds(WRAP - FRAME))
    assert clock.ticks(seconds(0)) == FRAME
    # nearly a minute ahead: a jump, too
    assert clock.ticks(seconds(5_000_000)) == 2 * FRAME
    assert clock.num_jumps == 2


# A millisecond, a usual latency, and seconds.
@pytest.mark.parametrize("scale", [0.001, 0.02, 3.0])
def test_percentiles_are_those_of_numpy(scale: float) -> None:
    values = np.random.default_rng(0).exponential(scale, 5000)
    latency = Latency()
    assert str(latency) == "-"
    for value in values:
        latency.add(value)
    for point, name in ((50, "p50"), (95, "p95"), (99, "p99")):
        seconds_of_point = np.percentile(values, point, method="inverted_cdf")
        exact = 1e3 * seconds_of_point
        value = latency.percentiles()[name]
        # A step of the histogram, and the rounding of its name to 0.1 ms.
        assert exact <= value <= exact + 0.11
    assert len(latency) == 5000


def test_beyond_a_minute_counts_as_a_minute() -> None:
    latency = Latency()
    latency.add(1e9)
    median = latency.percentiles()["p50"]
    # The end of the last step, 0.1 ms later.
    assert median == pytest.approx(60_000, abs=0.11)
