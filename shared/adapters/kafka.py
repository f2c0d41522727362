"""Kafka: publishes records and waits until the brokers have them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forget it

from shared.contracts.envelope import Record
from shared.contracts.errors import Permanent, Temporary

MESSAGE_TIMEOUT_SECONDS = 20
# Longer than the message timeout, so that librdkafka has told the fate of every record by then.
FLUSH_SECONDS = MESSAGE_TIMEOUT_SECONDS + 5


class Publisher(Protocol):
    def publish(self, records: Sequence[Record]) -> None:
        """Returns once every record is acknowledged by all in-sync replicas.

        Raises:
            Temporary: at least one was not; publishing all of them again does no harm.
            Permanent: one of them can never be, such as one that is too large.
        """
        ...


class KafkaPublisher:
    """A producer for each process, made on first use: librdkafka's threads do not survive a fork."""

    def __init__(self, configuration: Mapping[str, str | int | bool]) -> None:
        self._configuration = dict(configuration)
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._pid = 0

    def publish(self, records: Sequence[Record]) -> None:
        """See Publisher."""
        if not records:
            return
        producer = self._own_producer()
        failures: list[str] = []
        done = threading.Semaphore(0)

        def reported(error: Any, _message: Any) -> None:
            if error is not None:
                failures.append(str(error))
            done.release()

        for record in records:
            try:
                producer.produce(
                    record.topic,
                    key=record.key.encode(),
                    value=record.value.encode(),
                    headers=[(name, text.encode()) for name, text in record.headers.items()],
                    on_delivery=reported,
                )
            except BufferError as error:
                raise Temporary(f"Kafka: the send buffer is full ({error})") from error
            except KafkaException as error:  # too large, or a topic's name that cannot be
                raise Permanent(f"Kafka: {record.topic} refuses {record.event_id}: {error}") from error
            producer.poll(0)
        late = producer.flush(FLUSH_SECONDS)
        for _ in records:
            # Another thread's flush may serve this thread's callbacks: wait for each of ours.
            if not done.acquire(timeout=FLUSH_SECONDS):
                raise Temporary(f"Kafka: {late} records were not acknowledged in {FLUSH_SECONDS} s")
        if failures:
            raise Temporary(f"Kafka: {len(failures)} of {len(records)} records failed: {failures[0]}")

    def _own_producer(self) -> Producer:
        with self._lock:
            if self._producer is None or self._pid != os.getpid():
                self._producer = Producer(
                    {
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 0,
                        "compression.type": "zstd",
                        "message.timeout.ms": MESSAGE_TIMEOUT_SECONDS * 1000,
                        **self._configuration,
                    }
                )
                self._pid = os.getpid()
            return self._producer


def client_configuration(
    bootstrap_servers: str,
    *,
    security_protocol: str = "PLAINTEXT",
    sasl_mechanism: str = "",
    username: str = "",
    password: str = "",
) -> dict[str, str | int | bool]:
    """What librdkafka needs to reach the brokers."""
    configuration: dict[str, str | int | bool] = {
        "bootstrap.servers": bootstrap_servers,
        "security.protocol": security_protocol,
    }
    if security_protocol.startswith("SASL"):
        configuration |= {
            "sasl.mechanism": sasl_mechanism,
            "sasl.username": username,
            "sasl.password": password,
        }
    return configuration


def create_topics(
    configuration: Mapping[str, str | int | bool], names: Sequence[str], partitions: int
) -> list[str]:
    """Creates the topics that are missing, and returns their names.

    Raises:
        Temporary: the brokers do not answer.
    """
    admin = AdminClient(dict(configuration))
    try:
        there = set(admin.list_topics(timeout=15).topics)
        missing = [name for name in names if name not in there]
        if missing:
            futures = admin.create_topics([NewTopic(name, num_partitions=partitions) for name in missing])
            # The client must live until the futures have returned, or they never do.
            for future in futures.values():
                future.result(timeout=30)
    except KafkaException as error:
        raise Temporary(f"Kafka at {configuration['bootstrap.servers']}: {error.args[0]}") from error
    return missing
