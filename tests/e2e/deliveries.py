"""What the emulated KafkaSources did, as told after every attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from infra.emulator.cloudevent import Record
from infra.emulator.eventing import Eventing
from infra.emulator.manifests import Destination, KafkaSource
from infra.emulator.stack import Stack

Place = tuple[str, str, int, int]  # KafkaSource, topic, partition, offset


@dataclass(frozen=True)
class Attempt:
    """A delivery that came to an answer, or to none (`status` None)."""

    place: Place
    stage: str
    group: str
    status: int | None


class Deliveries:
    """Every attempt, in the order in which they ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []

    def saw(self, source: KafkaSource, record: Record, _attempt: int, status: int | None) -> None:
        place = (source.name, record.topic, record.partition, record.offset)
        attempt = Attempt(place, _stage(source.sink), source.consumer_group, status)
        with self._lock:
            self._attempts.append(attempt)

    @property
    def attempts(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts)

    def overlapping(self) -> set[str]:
        """Stages that had one record delivered by two groups at the same time.

        A group begins a record's second delivery at the end of its first. So a delivery of the other group
        that ends between the ends of these two was under way together with one of them.
        """
        by_place: dict[Place, list[Attempt]] = {}
        for attempt in self.attempts:
            by_place.setdefault(attempt.place, []).append(attempt)
        found = set()
        for attempts in by_place.values():
            groups = [attempt.group for attempt in attempts]
            if any(groups[i - 1] != groups[i] and groups[i - 1] in groups[i:] for i in range(1, len(groups))):
                found.add(attempts[0].stage)
        return found

    def unanswered(self) -> set[str]:
        """Stages that gave no answer to a delivery."""
        return {attempt.stage for attempt in self.attempts if attempt.status is None}

    def interrupted(self) -> set[str]:
        """Stages that gave no answer to a delivery, and accepted the same record later."""
        unanswered = {attempt.place for attempt in self.attempts if attempt.status is None}
        return {
            attempt.stage
            for attempt in self.attempts
            if attempt.place in unanswered and attempt.status is not None and attempt.status < 300
        }


@contextmanager
def delivered_again(stack: Stack, deliveries: Deliveries) -> Iterator[None]:
    """Everything is delivered by a second group of consumers too, at the same time and twice by each."""
    assert stack.functions is not None
    sources = tuple(
        replace(source, consumer_group=f"{source.consumer_group}-again")
        for source in stack.manifests.kafka_sources
    )
    eventing = Eventing(
        replace(stack.manifests, kafka_sources=sources, ping_sources=()),
        bootstrap=stack.environment["KAFKA_BOOTSTRAP_SERVERS"],
        addresses=stack.functions.addresses,
        on_delivery=deliveries.saw,
        duplicate=True,
    )
    try:
        eventing.start()
        yield
    finally:
        eventing.stop(grace=2)


def _stage(sink: Destination) -> str:
    assert not isinstance(sink, str)
    return sink.name
