"""Kafka: publishes records and waits until the brokers have them."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

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
# A record that is too large, a topic's name that cannot be: the same record is refused again, however late.
# All else has its cause outside the record (a missing topic, rights, a full queue), and may be mended there.
# (librdkafka's own codes begin with an underscore; they are public all the same.)
NEVER = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._INVALID_ARG})  # noqa: SLF001


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
        deadline = time.monotonic() + FLUSH_SECONDS
        producer = self._own_producer()
        failures: list[KafkaError] = []
        done = threading.Semaphore(0)

        def reported(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                failures.append(error)
            done.release()

        for record in records:
            self._produce(producer, record, reported)
            with self._serving(producer):
                producer.poll(0)
        with self._serving(producer):
            producer.flush(_left(deadline))
        for reports in range(len(records)):
            # Another thread's flush may serve this thread's callbacks: wait for each of ours.
            if not done.acquire(timeout=_left(deadline)):
                raise Temporary(
                    f"Kafka: {len(records) - reports} of {len(records)} records were not acknowledged"
                    f" in {FLUSH_SECONDS} s{self._trouble}"
                )
        if failures:
            if any(_is_fatal(error) for error in failures):
                self._drop(producer)
            raise Temporary(
                f"Kafka: {len(failures)} of {len(records)} records failed: {failures[0]}{self._trouble}"
            )
        self._trouble = ""

    def _produce(
        self, producer: Producer, record: Record, reported: Callable[[KafkaError | None, Any], None]
    ) -> None:
        """Hands the record to librdkafka, which calls `reported` with its fate. Raises what publish does."""
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
        except KafkaException as error:
            reason = error.args[0]
            if _is_fatal(reason):
                self._drop(producer)
            kind = Permanent if reason.code() in NEVER else Temporary
            raise kind(f"Kafka: {record.topic} refuses {record.event_id}: {reason}") from error

    @contextmanager
    def _serving(self, producer: Producer) -> Iterator[None]:
        """Around what runs librdkafka's callbacks: a fatal error of the producer is raised out of it.

        As a KafkaException, or, if a delivery report's callback ran with that exception pending and stumbled
        over it, as the SystemError that it causes.
        """
        try:
            yield
        except (KafkaException, SystemError) as error:
            self._drop(producer)
            raise Temporary(f"Kafka: the producer has failed: {error.__cause__ or error}") from error

    def _drop(self, producer: Producer) -> None:
        """After a fatal error librdkafka refuses everything for good: the next delivery makes a new one."""
        with self._lock:
            if self._producer is producer:  # and not one that another thread has made since
                self._producer = None

    def _says(self, error: KafkaError) -> None:
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


def create_topics(configuration: Mapping[str, str | int | bool], partitions: Mapping[str, int]) -> list[str]:
    """Creates the topics that are missing, and returns their names.

    `partitions` has each topic's number of them by its name; a topic that is there keeps what it has.

    Raises:
        Temporary: the brokers do not answer.
    """
    # Not every function's: only who sets up needs it.
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forget

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
        missing = [name for name in partitions if name not in there]
        if missing:
            futures = admin.create_topics(
                [NewTopic(name, num_partitions=partitions[name]) for name in missing]
            )
            # The client must live until the futures have returned, or they never do.
            for future in futures.values():
                future.result(timeout=30)
    except KafkaException as error:
        raise Temporary(f"Kafka at {where} creates no topics: {error.args[0].str()}") from error
    return missing


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _is_fatal(error: KafkaError) -> bool:
    """The error itself, or what every call says after it."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001


def _reason(text: str) -> str:
    """Of `localhost:9092/bootstrap: Connect to ... failed (after 0ms ...)` neither address nor times."""
    return re.sub(r" \(after .*\)$", "", re.sub(r"^\S+/\w+: (Connect to \S+ failed: )?", "", text))
