"""Reads every topic beside the functions, so that a run can be shown, counted and checked."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Seen:
    """A record as it stands in a topic."""

    topic: str
    headers: dict[str, str]
    value: str

    @property
    def event_id(self) -> str:
        return self.headers.get("ce_id", "")

    @property
    def subject(self) -> str:
        return self.headers.get("ce_subject", "")

    def data(self) -> dict[str, Any]:
        """The JSON object in it; empty where there is none."""
        try:
            document = json.loads(self.value)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


class Watcher:
    """Follows the topics from `start` to `stop`, without a group: it takes nothing from the functions."""

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        from_now: bool,
        on_record: Callable[[Seen], None] | None = None,
    ) -> None:
        """`from_now` skips what a broker that was given holds of former runs."""
        self._topics = list(topics)
        self._offset = OFFSET_END if from_now else OFFSET_BEGINNING
        self._on_record = on_record
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "kubefinops-watcher",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        self._lock = threading.Lock()
        self._records: list[Seen] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watcher", daemon=True)

    def start(self) -> None:
        """Raises KafkaException when the broker does not answer."""
        known = self._consumer.list_topics(timeout=10).topics
        partitions = [
            TopicPartition(topic, partition, self._offset)
            for topic in self._topics
            if topic in known
            for partition in known[topic].partitions
        ]
        if self._offset == OFFSET_END:
            # Resolved now: "end" would otherwise be the end at the first fetch, after the first events.
            for partition in partitions:
                partition.offset = self._consumer.get_watermark_offsets(partition, timeout=10)[1]
        self._consumer.assign(partitions)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._consumer.close()

    @property
    def records(self) -> list[Seen]:
        with self._lock:
            return list(self._records)

    def counts(self) -> Counter[str]:
        """Events by topic; an event that a redelivery published again counts once."""
        return Counter(topic for topic, _ in {(seen.topic, seen.event_id) for seen in self.records})

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._consumer.poll(POLL_SECONDS)
            except KafkaException:
                continue  # the broker is away; librdkafka goes on trying
            if message is None or message.error():
                continue
            pairs: list[tuple[str, bytes | None]] = list(message.headers() or [])  # type: ignore[arg-type]
            headers = {name: (value or b"").decode(errors="replace") for name, value in pairs}
            seen = Seen(str(message.topic()), headers, (message.value() or b"").decode(errors="replace"))
            with self._lock:
                self._records.append(seen)
            if self._on_record is not None:
                self._on_record(seen)
