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
from infer.sources.clock import Clock

BASE = Fraction(1, 90_000)
FRAME = 3600


def seconds(ticks: int) -> Fraction:
    return ticks * BASE


@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(2**33), 2**33)), min_size=1, max_size=50
    )
)
def test_whatever_a_source_says_time_goes_forward_from_zero(said):
    clock = Clock(BASE, FRAME)
    shown = [clock.ticks(None if ticks is None else seconds(ticks)) for ticks in said]
    assert shown[0] == 0
    assert all(a < b for a, b in pairwise(shown))
    # Nothing the source says can make the output stand still: a leap is at most ten
    # seconds.
    assert all(b - a <= 10 / BASE for a, b in pairwise(shown))


@given(
    st.lists(st.integers(1, 800_000), min_size=1, max_size=50),
    st.integers(-(2**33), 2**33),
)
def test_between_the_frames_of_a_connection_the_distance_is_the_sources(steps, start):
    clock = Clock(BASE, FRAME)
    said = start + np.cumsum([0, *steps])
    assert [clock.ticks(seconds(int(ticks))) for ticks in said] == list(said - start)
    assert clock.num_jumps == clock.num_repaired == 0


def test_two_days_of_ntsc_frames_do_not_drift_and_pass_the_wraps_of_mpeg_ts():
    clock, wrap = Clock(BASE, 3003), 2**33  # 26.5 hours
    numbers = range(0, 48 * 3600 * 30, 299)  # nearly ten seconds apart
    shown = [
        clock.ticks(seconds((number * 3003 + 12_345) % wrap)) for number in numbers
    ]
    lost = (
        299 - 1
    ) * 3003  # what lies between two frames is unknown where the clock begins anew
    assert clock.num_jumps == 1
    assert shown[-1] == numbers[-1] * 3003 - lost


def test_a_source_that_comes_back_goes_on_after_the_time_it_was_away():
    clock = Clock(BASE, FRAME)
    assert [clock.ticks(seconds(n * FRAME)) for n in range(3)] == [0, FRAME, 2 * FRAME]
    clock.reconnect(2.0)
    assert clock.ticks(seconds(999)) == 2 * FRAME + 180_000
    assert clock.ticks(seconds(999 + FRAME)) == 3 * FRAME + 180_000
    assert clock.beside(seconds(999)) == 2 * FRAME + 180_000


def test_a_clock_that_begins_anew_is_one_frame_later():
    clock = Clock(BASE, FRAME)
    clock.ticks(seconds(2**33 - FRAME))
    assert clock.ticks(seconds(0)) == FRAME
    assert clock.ticks(seconds(5_000_000)) == 2 * FRAME
    assert clock.num_jumps == 2


@pytest.mark.parametrize("scale", [0.001, 0.02, 3.0])
def test_percentiles_are_those_of_numpy(scale):
    values = np.random.default_rng(0).exponential(scale, 5000)
    latency = Latency()
    assert str(latency) == "-"
    for value in values:
        latency.add(value)
    for point, name in ((50, "p50"), (95, "p95"), (99, "p99")):
        true = np.percentile(values, point, method="inverted_cdf") * 1e3
        assert true <= latency.percentiles()[name] <= true + 0.11
    assert len(latency) == 5000


def test_beyond_a_minute_counts_as_a_minute():
    latency = Latency()
    latency.add(1e9)
    assert latency.percentiles()["p50"] == pytest.approx(60_000, abs=1)
