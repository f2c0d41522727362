"""The ledger, model-checked: every schedule of two deliveries, and a crash of either at any step.

The real Ledger and the real policy decision run in threads that stop before each step at a store or a
broker; a scheduler lets exactly one go on at a time, in every order there is. A crash is an exception
that no code of ours catches, thrown in place of a step or right after it. After a crash the event is
delivered again, as KafkaSource does. Whatever happened: one document, one decision, one event.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.policy.handler import PolicyHandler
from shared.contracts.documents import Entry, Recommendation, Transition
from shared.contracts.envelope import Event, Record
from shared.contracts.policy import Policy
from shared.contracts.states import State
from shared.runtime.ledger import Ledger
from tests.examples import created, draft, event, scan_event
from tests.fakes.kafka import FakePublisher
from tests.fakes.mongo import FakePolicies, FakeRecommendations


class Crash(BaseException):
    """SIGKILL, as far as the code under test can tell: no `except Exception` sees it."""


class Scheduler:
    """Runs workers one step at a time, in the order that `choices` gives; then always the first ready."""

    def __init__(self, choices: Sequence[int], crash: tuple[int, int, bool] | None) -> None:
        self.choices = list(choices)
        self.crash = crash  # (worker, step, after the step's effect?)
        self.trace: list[tuple[int, int]] = []  # (choice made, number of choices) at each decision
        self.steps: dict[int, int] = {}
        self._turn = {}  # type: dict[int, threading.Semaphore]
        self._back = threading.Semaphore(0)
        self._of_thread: dict[int, int] = {}

    def step(self, effect: Callable[[], Any]) -> Any:
        """Called by a worker before an effect: waits for its turn, then does it (or dies)."""
        me = self._of_thread[threading.get_ident()]
        self._back.release()
        self._turn[me].acquire()
        number = self.steps[me]
        self.steps[me] = number + 1
        dies = self.crash is not None and self.crash[:2] == (me, number)
        if dies and not self.crash[2]:  # type: ignore[index]
            raise Crash
        result = effect()
        if dies:
            raise Crash
        return result

    def run(self, workers: Mapping[int, Callable[[], None]]) -> dict[int, BaseException | None]:
        """All workers to their ends; returns how each ended."""
        ends: dict[int, BaseException | None] = {}
        threads: dict[int, threading.Thread] = {}

        def body(me: int, work: Callable[[], None]) -> None:
            self._of_thread[threading.get_ident()] = me
            try:
                work()
                ends[me] = None
            except BaseException as error:  # noqa: BLE001
                ends[me] = error
            self._back.release()

        for me, work in workers.items():
            self._turn[me] = threading.Semaphore(0)
            self.steps.setdefault(me, 0)
            threads[me] = threading.Thread(target=body, args=(me, work))
            threads[me].start()
            self._back.acquire()  # until it waits before its first step, or has ended
        while len(ends) < len(workers):
            ready = [me for me in workers if me not in ends]
            choice = self.choices[len(self.trace)] if len(self.trace) < len(self.choices) else 0
            self.trace.append((choice, len(ready)))
            self._turn[ready[choice]].release()
            self._back.acquire()
        for thread in threads.values():
            thread.join()
        return ends


class SteppedRecommendations(FakeRecommendations):
    """The store, with a stop before each call."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler: Scheduler | None = None

    def _stop(self, effect: Callable[[], Any]) -> Any:
        return effect() if self.scheduler is None else self.scheduler.step(effect)

    def find(self, recommendation_id: str) -> Recommendation | None:
        found: Recommendation | None = self._stop(
            lambda: super(SteppedRecommendations, self).find(recommendation_id)
        )
        return found

    def insert(self, recommendation: Recommendation) -> Any:
        return self._stop(lambda: super(SteppedRecommendations, self).insert(recommendation))

    def advance(
        self,
        recommendation_id: str,
        transition: Transition,
        entry: Entry | None,
        fields: Mapping[str, object],
    ) -> bool:
        return bool(
            self._stop(
                lambda: super(SteppedRecommendations, self).advance(
                    recommendation_id, transition, entry, fields
                )
            )
        )

    def mark_sent(self, recommendation_id: str, event_id: str) -> None:
        self._stop(lambda: super(SteppedRecommendations, self).mark_sent(recommendation_id, event_id))


class SteppedPublisher(FakePublisher):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler: Scheduler | None = None

    def publish(self, records: Sequence[Record]) -> None:
        if not records:
            return
        if self.scheduler is None:
            super().publish(records)
        else:
            self.scheduler.step(lambda: super(SteppedPublisher, self).publish(records))


class TickingClock:
    """Each reading is later than the last: two deliveries never write the same bytes by luck."""

    def __init__(self) -> None:
        self._seconds = 0
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self._seconds += 1
            return datetime(2026, 11, 23, 12, tzinfo=UTC) + timedelta(seconds=self._seconds)


class Case:
    """One fresh document, store and broker; the same event delivered to two workers."""

    def __init__(self, *, create: bool, store: type[SteppedRecommendations] = SteppedRecommendations) -> None:
        self.store = store()
        self.publisher = SteppedPublisher()
        clock = TickingClock()
        self.recommender = Ledger("recommender", self.store, self.publisher, clock)
        self.policy = PolicyHandler(
            Ledger("policy", self.store, self.publisher, clock),
            FakePolicies(Policy.model_validate({"name": "p", "version": 1, "rules": {"pause": False}})),
        )
        self.create = create
        self.expected_topic = "recommendation.created" if create else "recommendation.approved"
        self.cause: Event = scan_event()
        if not create:
            self.recommender.create([draft()], self.cause)
            self.publisher.records.clear()
            self.cause = event(created(), id=draft().id)

    def deliver(self) -> None:
        if self.create:
            self.recommender.create([draft()], self.cause)
        else:
            self.policy.handle(self.cause)

    def run(self, choices: Sequence[int], crash: tuple[int, int, bool] | None) -> Scheduler:
        scheduler = Scheduler(choices, crash)
        self.store.scheduler = self.publisher.scheduler = scheduler
        ends = scheduler.run({0: self.deliver, 1: self.deliver})
        self.store.scheduler = self.publisher.scheduler = None
        unexpected = [end for end in ends.values() if end is not None and not isinstance(end, Crash)]
        assert not unexpected, unexpected
        if any(isinstance(end, Crash) for end in ends.values()):
            self.deliver()  # KafkaSource delivers again what was not acknowledged
        return scheduler

    def check(self) -> None:
        assert len(self.store.documents) == 1
        (document,) = self.store.documents.values()
        assert document.state is (State.CREATED if self.create else State.APPROVED)
        entries = [entry for entry in document.ledger if entry.record.topic == self.expected_topic]
        assert len(entries) == 1
        assert entries[0].sent
        assert len([move for move in document.transitions if move.after is document.state]) == 1
        published = [record for record in self.publisher.records if record.topic == self.expected_topic]
        assert published, "the event was lost"
        # At least once, but whoever sees it twice sees the same id and the same bytes.
        assert {record.model_dump_json() for record in published} == {entries[0].record.model_dump_json()}


def schedules(
    create: bool,
    crash: tuple[int, int, bool] | None,
    store: type[SteppedRecommendations] = SteppedRecommendations,
) -> Iterator[Scheduler]:
    """Every schedule, depth first: the last decision that had another choice takes its next one."""
    choices: list[int] = []
    while True:
        case = Case(create=create, store=store)
        scheduler = case.run(choices, crash)
        case.check()
        yield scheduler
        trace = scheduler.trace
        while trace and trace[-1][0] + 1 >= trace[-1][1]:
            trace.pop()
        if not trace:
            return
        choices = [choice for choice, _ in trace[:-1]] + [trace[-1][0] + 1]


@pytest.mark.parametrize("create", [True, False], ids=["recommender creates", "policy settles"])
def test_every_schedule_of_two_deliveries_ends_in_one_document_and_one_event(create: bool) -> None:
    explored = list(schedules(create, None))
    assert len(explored) > 20, "the scheduler must have had choices"


@pytest.mark.parametrize("create", [True, False], ids=["recommender creates", "policy settles"])
def test_a_crash_at_any_step_of_any_schedule_changes_nothing(create: bool) -> None:
    deepest = max(max(scheduler.steps.values()) for scheduler in schedules(create, None))
    assert deepest >= 3
    crashed = 0
    for step in range(deepest):
        for after in (False, True):
            # The two are alike: every schedule with a crash of the first is also one of the second.
            for scheduler in schedules(create, (0, step, after)):
                crashed += scheduler.steps[0] > step
    assert crashed > 50


class BlindRecommendations(SteppedRecommendations):
    """A store whose update does not look at the state first: the mistake that the check is there to find."""

    def advance(
        self,
        recommendation_id: str,
        transition: Transition,
        entry: Entry | None,
        fields: Mapping[str, object],
    ) -> bool:
        def blind() -> bool:
            state = self.documents[recommendation_id].state
            moved = transition.model_copy(update={"before": state})
            return FakeRecommendations.advance(self, recommendation_id, moved, entry, fields)

        return bool(self._stop(blind))


def test_the_check_finds_an_update_that_ignores_the_expected_state() -> None:
    with pytest.raises(AssertionError):
        list(schedules(False, None, BlindRecommendations))
