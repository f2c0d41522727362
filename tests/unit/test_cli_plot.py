"""Plots of usage against requests: what is drawn where."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from infra.cli.histories import Usage, Values
from infra.cli.plot import HEIGHT, WIDTH, cpu_text, memory_text, plot, spread, ticks

GIB = 2**30


def points(path: str) -> list[tuple[int, int]]:
    """Where a path goes, and where it begins anew."""
    places: list[tuple[int, int]] = []
    x = y = 0
    for command, text in re.findall(r"([MlhvVz])([-\d ]*)", path):
        numbers = [int(each) for each in re.findall(r"-?\d+", text)]
        match command:
            case "M":
                x, y = numbers
            case "l":
                x, y = x + numbers[0], y + numbers[1]
            case "h":
                x += numbers[0]
            case "v":
                y += numbers[0]
            case "V":
                y = numbers[0]
        places.append((x, y))
    return places


def usage(*values: float | None) -> Usage:
    return Usage(list(values), list(values))


def test_usage_is_drawn_over_the_whole_width_from_zero_to_above_the_largest_value() -> None:
    made = plot(usage(0, 50, 100), (None, None), (None, None))
    assert made.top == 108
    assert points(made.p95) == [(70, 100), (210, 54), (350, 7)]
    steps = points(made.peak)
    assert steps[0] == (0, HEIGHT)
    assert max(x for x, _ in steps) == WIDTH
    assert {y for _, y in steps} == {100, 54, 7}


def test_nothing_is_drawn_where_nothing_was_measured() -> None:
    values: Values = [None, 5, 5, None, 7, None]
    made = plot(usage(*values), (10, 10), (None, None))
    assert made.p95.count("M") == made.peak.count("M") == 2
    assert made.p95.endswith("h0")  # a single value is a dot
    assert not any(210 < x < 280 for x, _ in points(made.peak))


@given(st.lists(st.none() | st.floats(0, 1e12), min_size=1, max_size=200), st.integers(0, 10**12))
def test_a_plot_never_leaves_its_place(values: Values, request: int) -> None:
    made = plot(usage(*values), (request, request // 2), (request * 3, None))
    for path in (made.p95, made.peak):
        for x, y in points(path):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert all(0 <= level.y <= HEIGHT for level in made.levels)


def test_what_stays_is_one_line_and_what_changes_two_with_a_band_between() -> None:
    made = plot(usage(10), (100, 20), (150, 150))
    assert [(level.what, level.when, level.value) for level in made.levels] == [
        ("limit", "stays", 150),
        ("request", "now", 100),
        ("request", "new", 20),
    ]
    assert made.lower
    now, new = (next(each.y for each in made.levels if each.when == when) for when in ("now", "new"))
    assert made.band == (now, new)


def test_a_raised_request_is_not_told_as_given_back() -> None:
    made = plot(usage(10), (10, 20), (None, None))
    assert made.band is not None
    assert not made.lower
    assert plot(usage(10), (None, 20), (None, None)).band is None


def test_a_limit_far_above_is_told_at_the_upper_edge() -> None:
    made = plot(usage(10), (20, 20), (1000, 1000))
    (limit, _) = made.levels
    assert (limit.y, limit.beyond) == (0, True)
    assert made.top < 30


def test_without_history_the_lines_are_there() -> None:
    made = plot(None, (100, 50), (None, None))
    assert (made.p95, made.peak) == ("", "")
    assert len(made.levels) == 2


def test_an_axis_has_round_values() -> None:
    assert [tick.text for tick in ticks(1080, memory=False)] == ["0", "500m", "1"]
    assert [tick.text for tick in ticks(4.6 * GIB, memory=True)] == ["0", "2Gi", "4Gi"]
    assert [tick.text for tick in ticks(5, memory=False)] == ["0", "2.0m", "4.0m"]


@given(st.floats(1, 1e15), st.booleans())
def test_an_axis_has_a_few_values_whatever_the_scale(top: float, memory: bool) -> None:
    made = ticks(top, memory=memory)
    assert 1 <= len(made) <= 4
    assert all(0 <= tick.y <= 1 for tick in made)


def test_usage_is_told_in_three_digits() -> None:
    assert [cpu_text(value) for value in (0, 3.14159, 170.4, 2344)] == ["0", "3.1m", "170m", "2.34"]
    assert [memory_text(value) for value in (0, 100 * 2**20, 2.883 * GIB)] == ["0", "100Mi", "2.88Gi"]


@given(st.lists(st.floats(0, 150), max_size=4))
def test_labels_of_close_lines_do_not_lie_upon_each_other(places: list[float]) -> None:
    moved = spread(sorted(places), 13, 150)
    assert all(below - above >= 13 - 1e-6 for above, below in pairwise(moved))
    assert all(place <= 150 for place in moved)
