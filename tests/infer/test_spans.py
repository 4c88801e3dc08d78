"""Plans of workers: every group is done once, and waiting is worth more than waste."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from infer.cluster.spans import Film, best_start, describe, forecast


@st.composite
def films(draw: st.DrawFn) -> Film:
    # A film without a frame has no group, and must be planned, too.
    total = draw(st.integers(0, 400))
    group = draw(st.integers(1, 60))
    cuts = {0}
    if total > 1:
        frames = st.integers(1, total - 1)
        cuts |= draw(st.sets(frames, max_size=20))
    return Film(total, group, tuple(sorted(cuts)))


@settings(deadline=None, max_examples=50)
@given(films())
def test_groups_share_out_the_frames_and_begin_at_a_cut_before_them(film):
    counts = [film.count(n, n + 1) for n in range(film.num_groups)]
    assert sum(counts) == film.total
    for count in counts:
        assert count > 0
    for number in range(film.num_groups):
        entry = film.entry(number)
        start = film.start(number)
        assert entry in film.cuts
        for cut in film.cuts:
            assert not entry < cut < start
        assert film.waste(number) > 0 or start in film.fresh


@settings(deadline=None, max_examples=40)
@given(films(), st.integers(1, 9), st.data())
def test_a_plan_ends_and_is_never_slower_than_one_worker(film, num_workers, data):
    numbers = set(range(film.num_groups))
    finished = set()
    if numbers:
        finished = data.draw(st.sets(st.sampled_from(sorted(numbers))))
    plan = forecast(film, num_workers, finished)
    one = forecast(film, 1, finished)
    counts = [film.count(n, n + 1) for n in numbers - finished]
    num_frames = sum(counts)
    assert one.longest == num_frames + one.waste
    largest_waste = max(one.waste, plan.waste)
    assert plan.longest <= one.longest + largest_waste
    assert plan.longest * num_workers >= num_frames


@given(films(), st.integers(2, 9))
@settings(deadline=None, max_examples=30)
def test_a_film_without_cuts_is_one_stream_and_nothing_is_computed_twice(film, count):
    film = film._replace(cuts=(0,))
    assert forecast(film, count) == (film.total, 0)


def test_nobody_begins_where_it_saves_nothing():
    film = Film(1000, 100)
    start = best_start(film, busy={3}, finished={0, 1, 2}, num_idle=1)
    assert start is None
    # the state after a finished group serves as well as a cut
    start = best_start(film, busy={3}, finished={0, 1, 2, 5}, num_idle=1)
    assert start is not None
    assert start.number == 6
    assert start.waste == 0


def test_thirty_scenes_of_any_length_keep_two_to_eight_workers_busy():
    """Less than a twentieth is computed twice for two and four; eight workers have
    scenes of their own hardly longer than a group.
    """
    # workers, share of the film that may be computed twice, share of them that is used
    limits = (
        (2, 0.05, 0.9),
        (4, 0.05, 0.75),
        (8, 0.1, 0.5),
    )
    for seed in range(6):
        inner = random.Random(seed).sample(range(1, 3600), 29)
        film = Film(3600, 60, (0, *sorted(inner)))
        for num_workers, waste, share in limits:
            plan = forecast(film, num_workers)
            assert plan.waste <= waste * film.total
            speed = film.total / plan.longest
            assert speed >= share * num_workers


def test_a_worker_of_half_the_speed_is_busy_to_the_end():
    # A cut at every group: all can be begun anywhere.
    film = Film(12000, 100, tuple(range(0, 12000, 100)))
    plan = forecast(film, 2, speeds={1: 0.5})
    # where a group begins at a cut, the scene before it is computed for its state: a
    # group each time that one worker takes from the other, three times here
    assert plan.waste <= 3 * film.group
    # both together have one and a half of the speed of one
    shared = (film.total + plan.waste) / 1.5
    # at the end the slow one may still be at its last group
    last_group = film.group / 0.5
    assert plan.longest <= shared + last_group


def test_the_plan_is_told_before_the_start():
    film = Film(1000, 100)
    (line,) = describe(film, 4, 0)
    assert "no scene cut" in line
    assert "--cut-at" in line
    film = Film(1000, 100, (0, 300, 500))
    first, second = describe(film, 2, 1)
    assert "times as fast as one by 2 cuts" in first
    assert "1 of --cut-at are no scene cuts" in second
