"""Kafka: publishes records and waits until the brokers have them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forget it

from shared.contracts.envelope import Record
from shared.contracts.errors import Permanent, Temporary

MESSAGE_TIMEOUT_SECONDS = 20
# For a person who waits at a terminal; brokers that are there answer within a second.
LOOK_SECONDS = 8
# librdkafka writes each failed connection to standard error, some twenty lines a second: what it says is
# taken from its error callback, into the error that is raised.
QUIET: dict[str, str | int | bool] = {"log_level": 0}
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
        self._trouble = ""

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
                raise Temporary(
                    f"Kafka: {late} records were not acknowledged in {FLUSH_SECONDS} s{self._trouble}"
                )
        if failures:
            raise Temporary(
                f"Kafka: {len(failures)} of {len(records)} records failed: {failures[0]}{self._trouble}"
            )
        self._trouble = ""

    def _says(self, error: Any) -> None:
        self._trouble = f" ({error.str()})"

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
                        "error_cb": self._says,
                        **QUIET,
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
    said: list[str] = []
    admin_configuration: dict[str, Any] = {**QUIET, **configuration}
    admin_configuration["error_cb"] = lambda error: said.append(_reason(error.str()))
    admin = AdminClient(admin_configuration)
    where = f"{configuration['bootstrap.servers']} (KAFKA_BOOTSTRAP_SERVERS)"
    try:
        there = set(admin.list_topics(timeout=LOOK_SECONDS).topics)
    except KafkaException as error:
        admin.poll(0)  # the callbacks
        why = said[0] if said else error.args[0].str()
        raise Temporary(f"no Kafka answers at {where}: {why}") from error
    try:
        missing = [name for name in names if name not in there]
        if missing:
            futures = admin.create_topics([NewTopic(name, num_partitions=partitions) for name in missing])
            # The client must live until the futures have returned, or they never do.
            for future in futures.values():
                future.result(timeout=30)
    except KafkaException as error:
        raise Temporary(f"Kafka at {where} creates no topics: {error.args[0].str()}") from error
    return missing


def _reason(text: str) -> str:
    """Of `localhost:9092/bootstrap: Connect to ... failed (after 0ms ...)` neither address nor times."""
    return re.sub(r" \(after .*\)$", "", re.sub(r"^\S+/\w+: (Connect to \S+ failed: )?", "", text))
