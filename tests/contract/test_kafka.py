"""Kafka: one suite, on the embedded broker always, and on Apache Kafka where its artifacts are."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer

from infra.emulator.servers.apache_kafka import is_fetched
from shared.adapters.kafka import KafkaPublisher, client_configuration, create_topics
from shared.contracts.envelope import Record, decode_record
from shared.contracts.errors import Temporary
from tests.examples import created, event
from tests.servers import apache_kafka_server, kafka_server

TOPIC = "recommendation.created"


@pytest.fixture(scope="module", params=["embedded", "apache"])
def bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        with kafka_server({TOPIC: 4}) as server:
            yield str(server.address)
    elif not is_fetched():
        pytest.skip("Apache Kafka is not fetched: python -m infra.emulator.servers.apache_kafka --data DIR")
    else:
        with apache_kafka_server() as apache:
            create_topics(client_configuration(str(apache.address)), [TOPIC], 4)
            yield str(apache.address)


def read(bootstrap: str, number: int) -> list[tuple[bytes | None, dict[str, str], str, int]]:
    """The first `number` records of the topic: key, headers, value, partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([TOPIC])
    found: list[tuple[bytes | None, dict[str, str], str, int]] = []
    try:
        while len(found) < number:
            message = consumer.poll(20)
            assert message is not None, f"only {len(found)} of {number} records came"
            assert message.error() is None, message.error()
            pairs: list[tuple[str, bytes]] = list(message.headers() or [])  # type: ignore[arg-type]
            headers = {name: value.decode() for name, value in pairs}
            found.append(
                (message.key(), headers, (message.value() or b"").decode(), message.partition() or 0)
            )
    finally:
        consumer.close()
    return found


def own(records: list[tuple[bytes | None, dict[str, str], str, int]], run: str) -> list[int]:
    """The partitions of the records whose correlation id is `run`."""
    return [partition for _, headers, _, partition in records if headers["ce_correlationid"] == run]


def test_a_record_arrives_as_it_was_published(bootstrap: str) -> None:
    record = event(created()).record()
    KafkaPublisher(client_configuration(bootstrap)).publish([record])
    key, headers, value, _ = read(bootstrap, 1)[0]
    assert key == record.key.encode()
    arrived = Record(topic=TOPIC, key=record.key, headers=headers, value=value)
    assert arrived == record
    assert decode_record(arrived) == event(created())


def test_a_workloads_events_share_a_partition(bootstrap: str) -> None:
    run = uuid.uuid4().hex
    record = event(created()).record()
    tagged = record.model_copy(update={"headers": {**record.headers, "ce_correlationid": run}})
    publisher = KafkaPublisher(client_configuration(bootstrap))
    publisher.publish([tagged] * 5)
    partitions = own(read(bootstrap, 6), run)
    assert len(partitions) == 5
    assert len(set(partitions)) == 1


def test_threads_share_a_publisher_and_each_waits_for_its_own(bootstrap: str) -> None:
    publisher = KafkaPublisher(client_configuration(bootstrap))
    failures: list[BaseException] = []

    def publish() -> None:
        try:
            for _ in range(20):
                publisher.publish([event(created()).record()])
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(read(bootstrap, 80)) == 80


def test_existing_topics_are_left_alone(bootstrap: str) -> None:
    assert create_topics(client_configuration(bootstrap), [TOPIC], 4) == []


def test_brokers_that_are_away_are_temporary() -> None:
    away = client_configuration("127.0.0.1:1") | {"message.timeout.ms": 300, "log_level": 0}
    with pytest.raises(Temporary, match="Kafka"):
        KafkaPublisher(away).publish([event(created()).record()])


def test_where_nobody_answers_one_line_says_so_and_nothing_else_is_written(
    capfd: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    with pytest.raises(Temporary) as raised:
        create_topics(client_configuration("127.0.0.1:1"), [TOPIC], 1)
    assert str(raised.value) == (
        "no Kafka answers at 127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS): Connection refused"
    )
    assert time.monotonic() - began < 12
    assert capfd.readouterr() == ("", "")
