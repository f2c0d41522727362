"""Kafka: one suite, on the embedded broker always, and on Apache Kafka where its artifacts are."""

from __future__ import annotations

import ctypes
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from infra.emulator.servers.apache_kafka import is_fetched
from infra.emulator.servers.mock_kafka import MockCluster
from shared.adapters import kafka
from shared.adapters.kafka import KafkaPublisher, client_configuration, create_topics
from shared.contracts.envelope import Record, decode_record
from shared.contracts.errors import Permanent, Temporary
from tests.examples import created, event
from tests.servers import apache_kafka_server, kafka_server
from tests.waiting import until

TOPIC = "recommendation.created"
PRODUCE = 0  # the request's key in Kafka's protocol


class FaultyCluster(MockCluster):
    """A mock cluster in this process, which fails as it is told to."""

    def refuse_topic(self, error: int) -> None:
        """What the brokers say of the topic from now on; 0 is that all is well."""
        self._call("rd_kafka_mock_topic_set_error", (TOPIC.encode(), ctypes.c_int(error)))

    def refuse_next_record(self, error: int) -> None:
        errors = (ctypes.c_int * 1)(error)
        self._call(
            "rd_kafka_mock_push_request_errors_array", (ctypes.c_int16(PRODUCE), ctypes.c_size_t(1), errors)
        )

    def end(self) -> None:
        self._call("rd_kafka_mock_cluster_destroy", ())
        destroy = self._library.rd_kafka_destroy
        destroy.restype = None
        destroy(self._owner)

    def _call(self, name: str, arguments: tuple[object, ...]) -> None:
        function = getattr(self._library, name)
        function.restype = None
        function(self._cluster, *arguments)


@pytest.fixture
def faulty() -> Iterator[FaultyCluster]:
    cluster = FaultyCluster({TOPIC: 1})
    yield cluster
    cluster.end()


@pytest.fixture(scope="module", params=["embedded", "apache"])
def bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        with kafka_server({TOPIC: 4}) as server:
            yield str(server.address)
    elif not is_fetched():
        pytest.skip("Apache Kafka is not fetched: python -m infra.emulator.servers.apache_kafka --data DIR")
    else:
        with apache_kafka_server() as apache:
            create_topics(client_configuration(str(apache.address)), {TOPIC: 4})
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
    assert create_topics(client_configuration(bootstrap), {TOPIC: 4}) == []


def test_brokers_that_are_away_are_temporary() -> None:
    away = client_configuration("127.0.0.1:1") | {"message.timeout.ms": 300, "log_level": 0}
    with pytest.raises(Temporary, match="Kafka"):
        KafkaPublisher(away).publish([event(created()).record()])


def test_a_topic_that_may_not_be_written_is_temporary_until_it_may(faulty: FaultyCluster) -> None:
    publisher = KafkaPublisher(client_configuration(faulty.bootstrap))
    faulty.refuse_topic(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(Temporary, match=r"1 of 1 records failed: .*authorization"):
        publisher.publish([event(created()).record()])
    # The producer knows by now, and refuses the record without asking.
    with pytest.raises(Temporary, match=r"refuses cause-1: .*authorization"):
        publisher.publish([event(created()).record()])
    faulty.refuse_topic(0)

    def is_published() -> bool:
        try:
            publisher.publish([event(created()).record()])
        except Temporary:
            return False
        return True

    until(is_published)  # the producer asks for the topic again each second


def test_after_a_fatal_error_the_next_delivery_makes_a_new_producer(faulty: FaultyCluster) -> None:
    publisher = KafkaPublisher(client_configuration(faulty.bootstrap))
    publisher.publish([event(created()).record()])
    faulty.refuse_next_record(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    with pytest.raises(Temporary, match="sequence desynchronization"):
        publisher.publish([event(created()).record()])
    publisher.publish([event(created()).record()])


def test_a_producer_that_failed_between_deliveries_is_replaced_too(faulty: FaultyCluster) -> None:
    publisher = KafkaPublisher(client_configuration(faulty.bootstrap))
    publisher.publish([event(created()).record()])
    faulty.refuse_next_record(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    producer = publisher._producer
    assert producer is not None
    producer.produce(TOPIC, b"")
    with pytest.raises((SystemError, KafkaException)):
        producer.flush(10)
    with pytest.raises(Temporary, match="Fatal error"):
        publisher.publish([event(created()).record()])
    publisher.publish([event(created()).record()])


@pytest.mark.parametrize(
    "change", [{"value": "x" * 1_100_000}, {"topic": "x" * 1000}], ids=["too large", "no topic's name"]
)
def test_what_no_retry_can_mend_is_permanent(bootstrap: str, change: dict[str, str]) -> None:
    record = event(created()).record().model_copy(update=change)
    with pytest.raises(Permanent, match="refuses cause-1"):
        KafkaPublisher(client_configuration(bootstrap)).publish([record])


def test_one_deadline_holds_for_all_records_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "FLUSH_SECONDS", 1)
    away = client_configuration("127.0.0.1:1") | {"message.timeout.ms": 60_000}
    began = time.monotonic()
    with pytest.raises(Temporary, match="3 of 3 records were not acknowledged in 1 s"):
        KafkaPublisher(away).publish([event(created()).record()] * 3)
    assert time.monotonic() - began < 1.8


def test_where_nobody_answers_one_line_says_so_and_nothing_else_is_written(
    capfd: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    with pytest.raises(Temporary) as raised:
        create_topics(client_configuration("127.0.0.1:1"), {TOPIC: 1})
    assert str(raised.value) == (
        "no Kafka answers at 127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS): Connection refused"
    )
    assert time.monotonic() - began < 12
    assert capfd.readouterr() == ("", "")
