"""What fails for one stops neither the others nor, when all is down, the event for long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.contracts.errors import Temporary
from shared.runtime.isolation import MOST_FAILURES, MOST_SECONDS, Isolation


def test_one_that_fails_stops_no_other_and_is_raised_at_the_end() -> None:
    isolation, handled = Isolation(), set()

    def handle(number: int) -> None:
        if number == 3:
            raise Temporary("three")
        handled.add(number)

    isolation.each(range(8), handle)
    assert handled == {0, 1, 2, 4, 5, 6, 7}
    assert isolation.failed
    with pytest.raises(Temporary, match="three"):
        isolation.raise_first()


def test_a_bug_that_one_meets_is_no_others_either() -> None:
    isolation = Isolation()
    isolation.each([{}, {"name": "cart"}], lambda one: one["name"])
    isolation.each(["later"], str.upper)
    with pytest.raises(KeyError):
        isolation.raise_first()


def test_where_nothing_failed_nothing_is_raised() -> None:
    isolation = Isolation()
    isolation.each([1, 2], str)
    assert not isolation.failed
    isolation.raise_first()


def failing(asked: list[int]) -> Callable[[int], None]:
    def handle(number: int) -> None:
        asked.append(number)
        raise Temporary(f"{number} is down")

    return handle


def test_what_is_down_for_all_is_not_asked_for_each() -> None:
    asked: list[int] = []
    Isolation().each(range(100), failing(asked))
    assert len(asked) == MOST_FAILURES


def test_who_stands_behind_those_that_fail_has_a_turn_another_time() -> None:
    handled = set()

    def handle(number: int) -> None:
        if number < 10:
            raise Temporary("down")
        handled.add(number)

    for _ in range(1000):
        Isolation().each(range(12), handle)
    assert handled == {10, 11}


def test_an_error_that_is_remembered_counts_once() -> None:
    isolation, asked, error = Isolation(), [], Temporary("one Application")

    def handle(number: int) -> None:
        asked.append(number)
        raise error

    isolation.each(range(10), handle)
    assert len(asked) == 10


def test_when_time_is_up_the_rest_is_left_for_the_next_time() -> None:
    now = 0.0
    handled = []

    def handle(number: int) -> None:
        nonlocal now
        now += 10
        handled.append(number)

    isolation = Isolation(lambda: now)
    isolation.each(range(100), handle)
    assert len(handled) == MOST_SECONDS // 10 + 1
    with pytest.raises(Temporary, match="not all was looked at"):
        isolation.raise_first()
