"""A topic log in memory."""

from __future__ import annotations

from collections.abc import Sequence

from shared.contracts.envelope import Event, Record, decode_record
from shared.contracts.errors import Temporary


class FakePublisher:
    """Keeps what was published, in order; `down` makes it fail as an unreachable broker does."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.down = False

    def publish(self, records: Sequence[Record]) -> None:
        if self.down and records:
            raise Temporary("Kafka: down")
        self.records.extend(records)

    @property
    def events(self) -> list[Event]:
        return [decode_record(record) for record in self.records]

    def on(self, topic: str) -> list[Event]:
        return [event for event in self.events if event.topic == topic]
