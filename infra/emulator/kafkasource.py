"""A running KafkaSource: consumers whose records are delivered side by side and committed in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.emulator.cloudevent import Record, delivered_event
from infra.emulator.dispatch import Dispatcher, Outcome, Stopped
from infra.emulator.manifests import KafkaSource
from infra.emulator.offsets import OffsetTracker

logger = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0
SESSION_TIMEOUT_MS = 6_000  # the least that a Kafka broker allows by default
UNORDERED_IN_FLIGHT = 50  # the dispatcher's max.poll.records
POLL_SECONDS = 0.1
# Records fetched ahead of their delivery, after which a partition is paused and below half of which resumed.
BACKLOG = 1000
TRACING_HEADERS = frozenset({"traceparent", "tracestate"})

OnDelivery = Callable[[KafkaSource, Record, int, int | None], None]
"""Called after every attempt, from the thread that made it: source, record, number of the attempt from 1,
HTTP status or None where no response came."""


class SourceError(Exception):
    """A KafkaSource got no partition, or its consumer broke."""


@dataclass(frozen=True)
class Counts:
    """What a source did since its start; `records` counts what Kafka handed over, repetitions included."""

    records: int = 0
    attempts: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    lost: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class _Lane:
    """Records that are delivered with at most `width` in flight: a partition if ordered, else everything."""

    width: int
    backlog: deque[tuple[Record, OffsetTracker]] = field(default_factory=deque)
    in_flight: int = 0


class RunningSource:
    """One consumer of a KafkaSource, from `start` to `stop`."""

    def __init__(
        self,
        source: KafkaSource,
        bootstrap: str,
        dispatcher: Callable[[Callable[[float], bool]], Dispatcher],
        *,
        on_delivery: OnDelivery | None = None,
        duplicate: bool = False,
    ) -> None:
        """`dispatcher` is made with the wait that ends when this source is stopped."""
        self.source = source
        self._bootstrap = bootstrap
        self._stopping = threading.Event()
        self._dispatcher = dispatcher(self._stopping.wait)
        self._on_delivery = on_delivery
        self._copies = 2 if duplicate else 1
        self._assigned = threading.Event()
        self._failure: Exception | None = None
        self._condition = threading.Condition()
        self._lanes: dict[tuple[str, int] | None, _Lane] = {}
        self._trackers: dict[tuple[str, int], OffsetTracker] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()
        self._counts = Counts()
        self._grace = 0.0
        self._commit_at_stop = True
        self._workers = ThreadPoolExecutor(UNORDERED_IN_FLIGHT, thread_name_prefix=source.name)
        self._thread = threading.Thread(target=self._run, name=source.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_assigned(self, within: float) -> None:
        """Wait until the group gave this consumer a partition. Raises SourceError after `within` seconds."""
        if not self._assigned.wait(within) or self._failure is not None:
            reason = self._failure or f"no partition was assigned within {within:g} s"
            raise SourceError(f"KafkaSource {self.source.name}: {reason}")

    @property
    def counts(self) -> Counts:
        with self._condition:
            return self._counts

    @property
    def in_flight(self) -> int:
        """Records that were fetched and have not come to an end."""
        with self._condition:
            return sum(len(lane.backlog) + lane.in_flight for lane in self._lanes.values())

    def begin_stop(self, grace: float, *, commit: bool = True) -> None:
        """Tell it to end and return at once, so that many can end side by side before each is joined."""
        self._grace, self._commit_at_stop = grace, commit
        self._stopping.set()

    def join(self) -> None:
        """Wait until it ended. What is still in flight after the grace is not committed."""
        if self._thread.ident is not None:
            self._thread.join()
        self._workers.shutdown(wait=False, cancel_futures=True)

    # The polling thread: it alone touches the consumer.

    def _run(self) -> None:
        try:
            consumer = Consumer(
                {
                    "bootstrap.servers": self._bootstrap,
                    "group.id": self.source.consumer_group,
                    "auto.offset.reset": self.source.initial_offset,
                    "enable.auto.commit": False,
                    "allow.auto.create.topics": True,
                    "session.timeout.ms": SESSION_TIMEOUT_MS,
                    "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 4,
                    "topic.metadata.refresh.interval.ms": 5_000,
                    # librdkafka's mock cluster answers a waiting fetch only when its time is over.
                    "fetch.wait.max.ms": 10,
                },
                logger=logger,
            )
            try:
                self._consume(consumer)
            finally:
                consumer.close()
        except Exception as error:
            logger.exception("KafkaSource %s ended", self.source.name)
            self._failure = error
            self._assigned.set()  # whoever waits is told at once

    def _consume(self, consumer: Consumer) -> None:
        consumer.subscribe(
            list(self.source.topics), on_assign=self._gained, on_revoke=self._revoked, on_lost=self._lost
        )
        next_commit = time.monotonic() + COMMIT_SECONDS
        while not self._stopping.is_set():
            message = consumer.poll(POLL_SECONDS)
            if message is not None:
                self._received(consumer, message)
            self._resume(consumer)
            if time.monotonic() >= next_commit:
                self._commit(consumer, list(self._trackers), asynchronous=True)
                next_commit = time.monotonic() + COMMIT_SECONDS
        with self._condition:
            self._condition.wait_for(
                lambda: not any(lane.in_flight for lane in self._lanes.values()), timeout=self._grace
            )
        if self._commit_at_stop:
            self._commit(consumer, list(self._trackers), asynchronous=False)
        self._trackers.clear()  # closing revokes; nothing more is committed there

    def _received(self, consumer: Consumer, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - that is its public name
                logger.warning("KafkaSource %s: %s", self.source.name, error.str())
            return
        record = record_of(message)
        place = (record.topic, record.partition)
        with self._condition:
            tracker = self._trackers.setdefault(place, OffsetTracker())
            tracker.received(record.offset)
            self._counts = replace(self._counts, records=self._counts.records + 1)
            lane = self._lane(place)
            lane.backlog.append((record, tracker))
            starts = lane.in_flight < lane.width
            lane.in_flight += starts
            full = len(lane.backlog) >= BACKLOG
        if starts:
            self._workers.submit(self._work, lane)
        if full and place not in self._paused:
            consumer.pause([TopicPartition(*place)])
            self._paused.add(place)

    def _lane(self, place: tuple[str, int]) -> _Lane:
        ordered = self.source.ordering == "ordered"
        return self._lanes.setdefault(
            place if ordered else None, _Lane(width=1 if ordered else UNORDERED_IN_FLIGHT)
        )

    def _resume(self, consumer: Consumer) -> None:
        if not self._paused:
            return
        with self._condition:
            ready = {place for place in self._paused if len(self._lane(place).backlog) < BACKLOG // 2}
        if ready:
            consumer.resume([TopicPartition(*place) for place in ready])
            self._paused -= ready

    def _commit(self, consumer: Consumer, places: list[tuple[str, int]], *, asynchronous: bool) -> None:
        with self._condition:
            reached = {
                place: offset
                for place in places
                if (offset := self._trackers[place].committable) is not None
                and offset > self._committed.get(place, -1)
            }
        if not reached:
            return
        offsets = [TopicPartition(*place, offset) for place, offset in reached.items()]
        try:
            if asynchronous:
                consumer.commit(offsets=offsets)
            else:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # the next commit says the same; at the stop, records come again
            logger.warning("KafkaSource %s: commit failed: %s", self.source.name, error)
            return
        self._committed |= reached

    def _gained(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._assigned.set()

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        mine = [place for each in partitions if (place := (each.topic, each.partition)) in self._trackers]
        self._commit(consumer, mine, asynchronous=False)
        self._lost(consumer, partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = {(each.topic, each.partition) for each in partitions}
        with self._condition:
            for place in places:
                self._trackers.pop(place, None)
                self._committed.pop(place, None)
            for lane in self._lanes.values():
                kept = [each for each in lane.backlog if (each[0].topic, each[0].partition) not in places]
                lane.backlog = deque(kept)
        self._paused -= places

    # The workers: one takes records of its lane until there are none.

    def _work(self, lane: _Lane) -> None:
        while True:
            with self._condition:
                if self._stopping.is_set() or not lane.backlog:
                    lane.in_flight -= 1
                    self._condition.notify_all()
                    return
                record, tracker = lane.backlog.popleft()
            try:
                outcome = self._deliver(record)
            except Stopped:
                continue
            except Exception:  # a record must not end its lane; Knative's dispatcher discards it likewise
                logger.exception("KafkaSource %s: %s", self.source.name, _place(record))
                outcome = Outcome.LOST
            if outcome is Outcome.LOST:
                logger.error("KafkaSource %s: %s is lost", self.source.name, _place(record))
            name = outcome.name.lower()
            with self._condition:
                tracker.finished(record.offset)
                self._counts = replace(self._counts, **{name: getattr(self._counts, name) + 1})

    def _deliver(self, record: Record) -> Outcome:
        event = delivered_event(record, self.source.namespace, self.source.name, self.source.extensions)
        # Not an attribute: the dispatcher's tracer hands the trace context on from header to header.
        tracing = {
            name: value.decode(errors="replace") for name, value in record.headers if name in TRACING_HEADERS
        }
        outcome = Outcome.LOST
        for _ in range(self._copies):
            outcome = self._dispatcher.dispatch(
                event, lambda attempt, status: self._attempted(record, attempt, status), tracing
            )
            if outcome is not Outcome.DELIVERED:
                break
        return outcome

    def _attempted(self, record: Record, attempt: int, status: int | None) -> None:
        with self._condition:
            self._counts = replace(self._counts, attempts=self._counts.attempts + 1)
        if self._on_delivery is not None:
            self._on_delivery(self.source, record, attempt, status)


def record_of(message: Message) -> Record:
    """A consumed message as a value."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers: Any = message.headers() or ()  # a list of pairs, whatever the stubs allow
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=message.timestamp()[1],
        key=message.key(),
        headers=tuple((name, value or b"") for name, value in headers),
        value=message.value(),
    )


def _place(record: Record) -> str:
    return f"{record.topic} partition {record.partition} offset {record.offset}"
