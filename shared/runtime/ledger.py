"""The ledger: moves a recommendation and publishes the event that says so, however often it is asked.

No claims, no leases, no transactions. One atomic update stores the new state together with the complete
event and the id of the event that caused it; only then is the event published and marked as sent. Killed
between any two steps, the redelivery finds the entry and goes on from there: one document, one event.
`tests/unit/test_ledger_schedules.py` enumerates every schedule of two deliveries and a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.adapters.mongo import Insert
from shared.contracts.decision import Decision
from shared.contracts.documents import Entry, Recommendation, Transition
from shared.contracts.envelope import Event
from shared.contracts.errors import Moved
from shared.contracts.events import TOPIC_OF_PAYLOAD
from shared.contracts.identity import event_id
from shared.contracts.states import SLOT_OF, State, may_move
from shared.contracts.topics import Topic

if TYPE_CHECKING:
    from shared.adapters.kafka import Publisher
    from shared.adapters.mongo import Recommendations
    from shared.contracts.events import Payload

log = logging.getLogger(__name__)

# A race is lost to somebody who made progress; so many in a row mean that something is wrong.
ATTEMPTS = 8


Decide = Callable[[Recommendation], Decision | None]


def utc_now() -> datetime:
    # MongoDB keeps milliseconds: cut here, so that what is stored equals what is published.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Ledger:
    """The one place that writes a recommendation's state and the one that publishes its events."""

    def __init__(
        self,
        stage: str,
        recommendations: Recommendations,
        publisher: Publisher,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._stage = stage
        self._recommendations = recommendations
        self._publisher = publisher
        self._clock = clock

    def create(self, drafts: Iterable[Recommendation], cause: Event) -> dict[str, Insert]:
        """Stores each draft with its `recommendation.created` event, and publishes what is not sent yet.

        A draft whose workload has a proposal in flight is not stored (SLOT_TAKEN); one that a former
        delivery stored (EXISTS) is published if that delivery did not get so far.

        Returns:
            How each ended, by recommendation id.

        Raises:
            Temporary: MongoDB or Kafka cannot be reached.
        """
        outcomes: dict[str, Insert] = {}
        pending: list[Recommendation] = []
        for draft in drafts:
            now = self._clock()
            event = self._event(draft, draft.proposal, cause, now)
            complete = draft.model_copy(
                update={
                    "state": State.CREATED,
                    "slot": SLOT_OF[State.CREATED],
                    "transitions": (
                        Transition(
                            before=None, after=State.CREATED, at=now, stage=self._stage, cause=cause.id
                        ),
                    ),
                    "ledger": (Entry(cause=cause.id, record=event.record(), at=now),),
                }
            )
            outcome = self._recommendations.insert(complete)
            outcomes[draft.id] = outcome
            if outcome is Insert.INSERTED:
                pending.append(complete)
            elif outcome is Insert.EXISTS:
                there = self._recommendations.find(draft.id)
                if there is not None:
                    pending.append(there)
        self._publish(pending, lambda entry: entry.cause == cause.id)
        return outcomes

    def settle(
        self, recommendation_id: str, cause: Event, answers: Collection[State], decide: Decide
    ) -> Recommendation | None:
        """Has `decide` answer `cause` for one recommendation, once.

        If its ledger holds an entry caused by this event, the decision was made: that entry is published
        unless it was sent. If its state is none of `answers`, the event is late and nothing happens.
        `decide` may return None: nothing to do yet. It may be called again when a race is lost, so its
        effects outside must be idempotent.

        Returns:
            The document as this call left it; None if there is none.

        Raises:
            Temporary: MongoDB or Kafka cannot be reached, or the document moved too often.
        """
        for _ in range(ATTEMPTS):
            recommendation = self._recommendations.find(recommendation_id)
            if recommendation is None:
                log.warning("no such recommendation", extra={"recommendation": recommendation_id})
                return None
            if recommendation.entry_caused_by(cause.id) is not None:
                self._publish([recommendation], lambda entry: entry.cause == cause.id)
                return recommendation
            if recommendation.state not in answers:
                log.info(
                    "late: %s is %s already", cause.type, recommendation.state,
                    extra={"recommendation": recommendation_id, "event": cause.id},
                )  # fmt: skip
                return recommendation
            decision = decide(recommendation)
            if decision is None:
                return recommendation
            moved = self._advance(recommendation, decision, cause)
            if moved is not None:
                self._publish([moved], lambda entry: entry.cause == cause.id)
                return moved
        raise Moved(f"recommendation {recommendation_id} moved {ATTEMPTS} times while it was looked at")

    def publish_unsent(self, older_than: timedelta = timedelta(minutes=1)) -> int:
        """Publishes what a crash left unsent, whatever stage left it; returns the number of events.

        Raises:
            Temporary: MongoDB or Kafka cannot be reached.
        """
        before = self._clock() - older_than
        return self._publish(self._recommendations.unsent(before), lambda entry: entry.at < before)

    def _advance(
        self, recommendation: Recommendation, decision: Decision, cause: Event
    ) -> Recommendation | None:
        if not may_move(recommendation.state, decision.state, self._stage):
            raise AssertionError(
                f"{self._stage} may not move {recommendation.state} to {decision.state}: see states.py"
            )
        now = self._clock()
        transition = Transition(
            before=recommendation.state, after=decision.state, at=now, stage=self._stage, cause=cause.id
        )
        entry = None
        if decision.payload is not None:
            event = self._event(recommendation, decision.payload, cause, now)
            entry = Entry(cause=cause.id, record=event.record(), at=now)
        if not self._recommendations.advance(recommendation.id, transition, entry, decision.facts):
            return None
        log.info(
            "%s -> %s", recommendation.state, decision.state,
            extra={"recommendation": recommendation.id, "workload": recommendation.workload.key},
        )  # fmt: skip
        return recommendation.model_copy(
            update={
                "state": decision.state,
                "slot": SLOT_OF.get(decision.state),
                "transitions": (*recommendation.transitions, transition),
                "ledger": recommendation.ledger if entry is None else (*recommendation.ledger, entry),
                **decision.facts,
            }
        )

    def _event(self, recommendation: Recommendation, payload: Payload, cause: Event, now: datetime) -> Event:
        workload = recommendation.workload
        topic = TOPIC_OF_PAYLOAD[type(payload)]
        # A recommendation has one event of each type, so the two are its id; the first has its own.
        own = topic is Topic.RECOMMENDATION_CREATED
        return Event(
            id=recommendation.id if own else event_id(topic.event_type, recommendation.id),
            source=f"/kubefinops/{workload.cluster}/{self._stage}",
            subject=workload.subject,
            time=now,
            partitionkey=workload.key,
            correlationid=recommendation.scan_id,
            causationid=cause.id,
            traceparent=cause.traceparent,
            data=payload,
        )

    def _publish(self, documents: Iterable[Recommendation], wanted: Callable[[Entry], bool]) -> int:
        unsent = [
            (document.id, entry.record)
            for document in documents
            for entry in document.ledger
            if not entry.sent and wanted(entry)
        ]
        self._publisher.publish([record for _, record in unsent])
        for recommendation_id, record in unsent:
            self._recommendations.mark_sent(recommendation_id, record.event_id)
        return len(unsent)
