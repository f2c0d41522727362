"""How many consumers a KafkaSource has: as many as it asks for, or by lag, as KEDA scales them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.emulator.kafkasource import Counts, RunningSource
from infra.emulator.manifests import KafkaSource, Scaling

logger = logging.getLogger(__name__)

ASK_SECONDS = 5.0
STOP_SECONDS = 10.0  # for a consumer that is no longer wanted to finish what it has in flight


@dataclass(frozen=True)
class Lag:
    """Records that a group has not finished, and over how many partitions."""

    records: int
    partitions: int


class Lags(Protocol):
    """Tells the lag of a source's group, until it is closed."""

    def now(self) -> Lag:
        """Raises KafkaException."""
        ...

    def close(self) -> None: ...


def wanted(scaling: Scaling, lag: Lag) -> int:
    """The consumers that KEDA wants: one for each `lag_threshold` of lag, no more than there are partitions
    (https://keda.sh/docs/latest/scalers/apache-kafka/); none only where none is the least, and nothing
    above the activation threshold is left to do.
    """
    if scaling.least == 0 and lag.records <= scaling.activation_lag_threshold:
        return 0
    most = max(1, min(scaling.most, lag.partitions))
    return min(most, max(1, scaling.least, math.ceil(lag.records / scaling.lag_threshold)))


class ScaledSource:
    """The consumers of one KafkaSource, from `start` to `stop`."""

    def __init__(self, source: KafkaSource, make: Callable[[], RunningSource], lags: Lags) -> None:
        self.source = source
        self._make = make
        self._lags = lags
        self._lock = threading.Lock()
        scaling = source.scaling
        least = source.consumers if scaling is None else max(source.consumers, scaling.least)
        self._running = [make() for _ in range(least)]
        self._ended = Counts()
        self._stopping = threading.Event()
        self._stop: Callable[[RunningSource], None] = partial(RunningSource.begin_stop, grace=STOP_SECONDS)
        self._thread = threading.Thread(target=self._scale, name=f"{source.name}-scaling", daemon=True)

    def start(self) -> None:
        for one in self._running:
            one.start()
        if self.source.scaling is not None:
            self._thread.start()

    def wait_assigned(self, within: float) -> None:
        """Raises SourceError when one of them gets no answer from its group."""
        deadline = time.monotonic() + within
        for one in self._consumers():
            one.wait_assigned(max(0.0, deadline - time.monotonic()))

    @property
    def consumers(self) -> int:
        return len(self._consumers())

    @property
    def counts(self) -> Counts:
        """Since the start, those of consumers that have ended included."""
        with self._lock:
            return sum((one.counts for one in self._running), start=self._ended)

    @property
    def in_flight(self) -> int:
        return sum(one.in_flight for one in self._consumers())

    def begin_stop(self, grace: float, *, commit: bool = True) -> None:
        self._stopping.set()
        self._stop = partial(RunningSource.begin_stop, grace=grace, commit=commit)
        for one in self._consumers():
            self._stop(one)

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()
        for one in self._consumers():
            self._stop(one)  # one may have been added meanwhile
            one.join()
        self._lags.close()

    def _consumers(self) -> list[RunningSource]:
        with self._lock:
            return list(self._running)

    def _scale(self) -> None:
        scaling = self.source.scaling
        assert scaling is not None
        busy = time.monotonic()  # when as many as there are were last wanted
        while not self._stopping.wait(scaling.polling_interval):
            try:
                target = wanted(scaling, self._lags.now())
            except KafkaException as error:  # the broker is away: looked at again
                logger.warning("KafkaSource %s: its lag is not known: %s", self.source.name, error)
                continue
            now, there = time.monotonic(), self.consumers
            if target >= there:
                busy = now
            if target > there:
                self._add(target - there)
            elif target < there and now - busy >= scaling.cooldown_period:
                self._remove(there - target)

    def _add(self, count: int) -> None:
        logger.info("KafkaSource %s: %d consumers more", self.source.name, count)
        for _ in range(count):
            one = self._make()
            with self._lock:
                self._running.append(one)
            one.start()

    def _remove(self, count: int) -> None:
        logger.info("KafkaSource %s: %d consumers less", self.source.name, count)
        for _ in range(count):
            last = self._consumers()[-1]
            last.begin_stop(STOP_SECONDS)
            last.join()
            with self._lock:
                self._running.remove(last)
                self._ended += last.counts


class GroupLags:
    """Asks the brokers, by a client that joins no group: see Lags."""

    def __init__(self, bootstrap: str, group: str, topics: Sequence[str]) -> None:
        self._configuration = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
        self._topics = tuple(topics)
        self._client: Consumer | None = None

    def now(self) -> Lag:
        """See Lags."""
        if self._client is None:
            self._client = Consumer(self._configuration, logger=logger)
        known = self._client.list_topics(timeout=ASK_SECONDS).topics
        places = [
            TopicPartition(topic, partition)
            for topic in self._topics
            if topic in known
            for partition in known[topic].partitions
        ]
        records = 0
        for place in self._client.committed(places, ASK_SECONDS) if places else ():
            low, high = self._client.get_watermark_offsets(place, timeout=ASK_SECONDS)
            records += max(0, high - max(low, place.offset))
        return Lag(records, len(places))

    def close(self) -> None:
        """See Lags."""
        if self._client is not None:
            self._client.close()
