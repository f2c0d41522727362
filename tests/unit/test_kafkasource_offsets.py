"""What a KafkaSource may commit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.emulator.offsets import OffsetTracker


def test_nothing_is_committable_before_the_first_record_is_finished() -> None:
    tracker = OffsetTracker()
    assert tracker.committable is None
    for offset in (5, 6):
        tracker.received(offset)
    tracker.finished(6)
    assert tracker.committable is None
    tracker.finished(5)
    assert tracker.committable == 7


def test_an_unfinished_record_holds_back_all_after_it() -> None:
    tracker = OffsetTracker()
    for offset in (5, 6, 7):
        tracker.received(offset)
    tracker.finished(5)
    tracker.finished(7)
    assert tracker.committable == 6
    tracker.finished(6)
    assert tracker.committable == 8


def test_gaps_between_offsets_are_no_obstacle() -> None:
    tracker = OffsetTracker()
    for offset in (3, 10, 40):
        tracker.received(offset)
    tracker.finished(3)
    assert tracker.committable == 10
    tracker.finished(10)
    tracker.finished(40)
    assert tracker.committable == 41


@given(st.sets(st.integers(0, 60)).map(sorted), st.randoms(use_true_random=False))
def test_in_any_order_nothing_unfinished_is_ever_passed(offsets: list[int], random: object) -> None:
    tracker, unfinished = OffsetTracker(), list(offsets)
    for offset in offsets:
        tracker.received(offset)
    order = list(offsets)
    random.shuffle(order)  # type: ignore[attr-defined]
    for offset in order:
        tracker.finished(offset)
        unfinished.remove(offset)
        reached = min(unfinished, default=offsets[-1] + 1)
        assert tracker.committable == (None if reached == offsets[0] else reached)
