"""KafkaSources against a Kafka broker: groups, offsets, order, redelivery, dead letters."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.emulator import kafkasource
from infra.emulator.cloudevent import Record
from infra.emulator.eventing import Eventing
from infra.emulator.kafkasource import Counts, record_of
from infra.emulator.manifests import (
    Delivery,
    KafkaSink,
    KafkaSource,
    Manifests,
    PingSource,
    Reference,
    Scaling,
    Service,
)
from infra.emulator.servers.apache_kafka import is_fetched
from shared.adapters.kafka import client_configuration, create_topics
from tests.fakes.event_receiver import Answer, EventReceiver, Request, event_receiver
from tests.servers import apache_kafka_server, kafka_server

PARTITIONS = 2
NAMESPACE = "kubefinops"
STAGE = Service(NAMESPACE, "stage", {}, {}, "/health/readiness", 8, 120)
DEAD_LETTERS = Reference("KafkaSink", NAMESPACE, "dlq")
QUICK = Delivery(3, "linear", 0.01, 10.0, DEAD_LETTERS)


class Kafka:
    """A broker in memory, and the topics of one test in it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.dead_letter_topic = f"{topic}.dlq"
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def send(
        self,
        event_id: str,
        *,
        partition: int = 0,
        value: bytes | None = b"{}",
        headers: dict[str, str] | None = None,
    ) -> None:
        """A CloudEvent in binary mode, unless `headers` say otherwise."""
        attributes = {"specversion": "1.0", "id": event_id, "source": "/test", "type": "t"}
        given = {f"ce_{name}": text for name, text in attributes.items()} if headers is None else headers
        self._producer.produce(
            self.topic,
            value,
            event_id,
            partition=partition,
            headers=[(name, text.encode()) for name, text in given.items()],
        )

    def flush(self) -> None:
        assert self._producer.flush(10) == 0

    def committed(self, group: str) -> dict[int, int]:
        """Committed offset by partition, where there is one."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            asked = [TopicPartition(self.topic, partition) for partition in range(PARTITIONS)]
            return {each.partition: each.offset for each in consumer.committed(asked, 10) if each.offset >= 0}
        finally:
            consumer.close()

    def dead_letters(self, count: int) -> list[tuple[dict[str, str], bytes | None]]:
        """Headers and value of the first `count` dead letters."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": str(uuid.uuid4()),
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
            }
        )
        consumer.assign([TopicPartition(self.dead_letter_topic, 0, 0)])
        letters: list[tuple[dict[str, str], bytes | None]] = []
        deadline = time.monotonic() + 10
        try:
            while len(letters) < count:
                assert time.monotonic() < deadline, letters
                message = consumer.poll(0.1)
                if message is not None and message.error() is None:
                    letter = record_of(message)
                    letters.append(({name: text.decode() for name, text in letter.headers}, letter.value))
        finally:
            consumer.close()
        return letters


@pytest.fixture(
    scope="module",
    params=[
        "embedded",
        pytest.param(
            "apache",
            marks=[
                pytest.mark.kafka,
                pytest.mark.skipif(
                    not is_fetched(), reason="python -m infra.emulator.servers.apache_kafka fetches it"
                ),
            ],
        ),
    ],
)
def bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    names = [f"topic-{number}" for number in range(24)]
    partitions = dict.fromkeys(names, PARTITIONS) | {f"{name}.dlq": 1 for name in names}
    if request.param == "embedded":
        with kafka_server(partitions) as embedded:
            yield embedded.address
    else:
        with apache_kafka_server() as apache:
            create_topics(client_configuration(apache.address), partitions)
            yield apache.address


@pytest.fixture(scope="module")
def unused_topics(bootstrap: str) -> Iterator[str]:
    """As many as one broker has."""
    return iter([f"topic-{number}" for number in range(24)])


@pytest.fixture(autouse=True)
def short_sessions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mock cluster lets who joins a group wait for the session of who left it; Kafka refuses these."""
    if "embedded" in request.node.name:
        monkeypatch.setattr(kafkasource, "SESSION_TIMEOUT_MS", 1500)


@pytest.fixture
def kafka(bootstrap: str, unused_topics: Iterator[str]) -> Kafka:
    return Kafka(bootstrap, next(unused_topics))


def source(kafka: Kafka, **changes: object) -> KafkaSource:
    plain = KafkaSource(
        namespace=NAMESPACE,
        name="stage-topic",
        topics=(kafka.topic,),
        consumer_group=f"group-{kafka.topic}",
        initial_offset="earliest",
        ordering="unordered",
        sink=Reference("Service", NAMESPACE, "stage"),
        delivery=QUICK,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@contextmanager
def running(
    kafka: Kafka,
    receiver: EventReceiver,
    of: KafkaSource,
    *,
    on_delivery: Callable[[KafkaSource, Record, int, int | None], None] | None = None,
    duplicate: bool = False,
    commit: bool = True,
) -> Iterator[Eventing]:
    manifests = Manifests(
        (STAGE,), (of,), (KafkaSink(NAMESPACE, "dlq", kafka.dead_letter_topic, "binary"),), (), ()
    )
    eventing = Eventing(
        manifests,
        bootstrap=kafka.bootstrap,
        addresses={"stage": receiver.url},
        on_delivery=on_delivery,
        duplicate=duplicate,
    )
    try:
        eventing.start()
        yield eventing
    finally:
        eventing.stop(5, commit=commit)


def wait_until(condition: Callable[[], bool], what: str, within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def ids(requests: list[Request]) -> list[str]:
    return [request.headers["ce-id"] for request in requests]


def test_every_record_reaches_the_sink_and_is_committed_at_the_stop(kafka: Kafka) -> None:
    for number in range(40):
        kafka.send(str(number), partition=number % PARTITIONS)
    kafka.flush()
    with event_receiver() as receiver:
        with running(kafka, receiver, source(kafka)) as eventing:
            receiver.wait_for(40)
            wait_until(lambda: eventing.counts["stage-topic"].delivered == 40, "40 delivered")
            assert eventing.counts["stage-topic"] == Counts(records=40, attempts=40, delivered=40)
            assert eventing.in_flight == 0
        request = receiver.requests[0]
        assert sorted(map(int, ids(receiver.requests))) == list(range(40))
    assert request.headers["prefer"] == "reply"
    assert request.headers["kn-namespace"] == NAMESPACE
    offsets = {int(each.headers["ce-knativekafkaoffset"]) for each in receiver.requests}
    assert offsets == set(range(20))
    assert kafka.committed(f"group-{kafka.topic}") == {0: 20, 1: 20}


def test_a_path_beside_the_sinks_ref_is_where_events_go(kafka: Kafka) -> None:
    kafka.send("1")
    kafka.flush()
    sink = Reference("Service", NAMESPACE, "stage", "/in?x=1")
    with event_receiver() as receiver, running(kafka, receiver, source(kafka, sink=sink)):
        assert receiver.wait_for(1)[0].path == "/in?x=1"


def test_a_successor_in_the_group_goes_on_where_it_stopped(kafka: Kafka) -> None:
    with event_receiver() as receiver:
        for generation in ("a", "b"):
            for number in range(5):
                kafka.send(f"{generation}{number}")
            kafka.flush()
            with running(kafka, receiver, source(kafka)) as eventing:
                wait_until(lambda: eventing.counts["stage-topic"].delivered == 5, "5 delivered")
        assert len(ids(receiver.requests)) == len(set(ids(receiver.requests))) == 10


def test_what_was_not_committed_before_a_kill_comes_again(kafka: Kafka) -> None:
    for number in range(5):
        kafka.send(str(number))
    kafka.flush()
    with event_receiver() as receiver:
        with running(kafka, receiver, source(kafka), commit=False) as eventing:
            wait_until(lambda: eventing.counts["stage-topic"].delivered == 5, "5 delivered")
        with running(kafka, receiver, source(kafka)):
            receiver.wait_for(10)
        assert Counter(ids(receiver.requests)) == dict.fromkeys("01234", 2)


def test_offsets_are_committed_while_it_runs(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafkasource, "COMMIT_SECONDS", 0.05)
    kafka.send("1")
    kafka.flush()
    with event_receiver() as receiver, running(kafka, receiver, source(kafka), commit=False):
        receiver.wait_for(1)
        wait_until(lambda: kafka.committed(f"group-{kafka.topic}") == {0: 1}, "committed")


def test_an_unfinished_record_holds_back_the_commit_of_those_after_it(kafka: Kafka) -> None:
    release = threading.Event()

    def answer(request: Request) -> Answer:
        if request.headers["ce-id"] == "slow":
            release.wait(20)
        return Answer()

    kafka.send("0")
    kafka.send("slow")
    for number in range(2, 6):
        kafka.send(str(number))
    kafka.flush()
    with event_receiver(answer) as receiver:
        with running(kafka, receiver, source(kafka)) as eventing:
            wait_until(lambda: eventing.counts["stage-topic"].delivered == 5, "all but the slow one")
            with ThreadPoolExecutor(1) as pool:
                stopped = pool.submit(eventing.stop, 0.1)
                stopped.result(10)
        assert kafka.committed(f"group-{kafka.topic}") == {0: 1}
        release.set()


def test_each_consumer_of_a_source_has_its_own_records_in_flight(kafka: Kafka) -> None:
    release, lock, busy = threading.Event(), threading.Lock(), Counter[str]()
    most = kafkasource.UNORDERED_IN_FLIGHT
    patient = source(kafka, consumers=PARTITIONS, delivery=replace(QUICK, timeout=60.0))

    def answer(request: Request) -> Answer:
        with lock:
            busy[request.headers["ce-knativekafkapartition"]] += 1
        release.wait(60)
        return Answer()

    for number in range(2 * most * PARTITIONS):
        kafka.send(str(number), partition=number % PARTITIONS)
    kafka.flush()
    with event_receiver(answer) as receiver, running(kafka, receiver, patient) as eventing:
        try:
            # The first to join the group has all partitions until it learns of the other.
            wait_until(lambda: busy.total() == most * PARTITIONS, "as many in flight by each", within=40)
        finally:
            release.set()
        wait_until(lambda: len(set(ids(receiver.requests))) == 2 * most * PARTITIONS, "all delivered")
        assert eventing.counts["stage-topic"].delivered >= most


def test_consumers_come_with_the_lag_and_go_when_it_is_gone(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafkasource, "COMMIT_SECONDS", 0.05)
    scaling = Scaling(least=1, most=5, lag_threshold=10, polling_interval=0.1, cooldown_period=0.5)
    release = threading.Event()

    def answer(_request: Request) -> Answer:
        release.wait(60)
        return Answer()

    of = source(kafka, scaling=scaling, delivery=replace(QUICK, timeout=60.0))
    with event_receiver(answer) as receiver, running(kafka, receiver, of) as eventing:
        try:
            assert eventing.consumers == {"stage-topic": 1}
            for number in range(200):
                kafka.send(str(number), partition=number % PARTITIONS)
            kafka.flush()
            # Five for the lag, but there are no more partitions.
            wait_until(lambda: eventing.consumers == {"stage-topic": PARTITIONS}, "scaled up", within=30)
        finally:
            release.set()
        wait_until(lambda: len(set(ids(receiver.requests))) == 200, "all delivered", within=30)
        wait_until(lambda: eventing.consumers == {"stage-topic": 1}, "scaled down", within=30)
        assert eventing.counts["stage-topic"].delivered >= 200


def test_without_work_there_may_be_no_consumer_and_with_work_there_is_one(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafkasource, "COMMIT_SECONDS", 0.05)
    scaling = Scaling(least=0, polling_interval=0.1, cooldown_period=0.2)
    with event_receiver() as receiver, running(kafka, receiver, source(kafka, scaling=scaling)) as eventing:
        wait_until(lambda: eventing.consumers == {"stage-topic": 0}, "scaled to none", within=30)
        kafka.send("1")
        kafka.flush()
        receiver.wait_for(1)
        assert ids(receiver.requests) == ["1"]


def test_ordered_is_one_in_flight_for_each_partition(kafka: Kafka) -> None:
    lock, busy, overlaps = threading.Lock(), Counter[str](), []

    def answer(request: Request) -> Answer:
        partition = request.headers["ce-knativekafkapartition"]
        with lock:
            busy[partition] += 1
            overlaps.append(busy[partition])
        time.sleep(0.002)
        with lock:
            busy[partition] -= 1
        return Answer(503 if request.headers["ce-id"] == "7" and len(overlaps) < 20 else 204)

    for number in range(30):
        kafka.send(str(number), partition=number % PARTITIONS)
    kafka.flush()
    with event_receiver(answer) as receiver:
        with running(kafka, receiver, source(kafka, ordering="ordered")) as eventing:
            wait_until(lambda: eventing.counts["stage-topic"].delivered == 30, "30 delivered")
        for partition in range(PARTITIONS):
            order = [
                int(request.headers["ce-id"])
                for request in receiver.requests
                if request.headers["ce-knativekafkapartition"] == str(partition)
            ]
            assert order == sorted(order)  # a retry comes before whatever is behind it
    assert max(overlaps) == 1


def test_unordered_has_about_fifty_in_flight(kafka: Kafka) -> None:
    release = threading.Event()

    def answer(_: Request) -> Answer:
        release.wait(20)
        return Answer()

    for number in range(80):
        kafka.send(str(number))
    kafka.flush()
    with event_receiver(answer) as receiver, running(kafka, receiver, source(kafka)) as eventing:
        receiver.wait_for(50)
        wait_until(lambda: eventing.counts["stage-topic"].records == 80, "80 fetched")
        assert len(receiver.requests) == 50
        release.set()
        receiver.wait_for(80)


def test_more_records_than_may_wait_are_fetched_later_and_none_is_lost(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafkasource, "BACKLOG", 10)
    for number in range(60):
        kafka.send(str(number), partition=number % PARTITIONS)
    kafka.flush()
    with (
        event_receiver() as receiver,
        running(kafka, receiver, source(kafka, ordering="ordered")) as eventing,
    ):
        wait_until(lambda: eventing.counts["stage-topic"].delivered == 60, "60 delivered")
        assert sorted(map(int, ids(receiver.requests))) == list(range(60))


def test_what_is_refused_becomes_a_dead_letter_with_its_reason_and_the_rest_goes_on(kafka: Kafka) -> None:
    def answer(request: Request) -> Answer:
        if request.headers["ce-id"] != "bad":
            return Answer()
        return Answer(422, b"no such workload", {"Kne-Reason": "invalid data"})

    for event_id in ("1", "bad", "2"):
        kafka.send(event_id, value=b'{"a":1}')
    kafka.flush()
    with event_receiver(answer) as receiver, running(kafka, receiver, source(kafka)) as eventing:
        wait_until(lambda: eventing.counts["stage-topic"].delivered == 2, "2 delivered")
        headers, value = kafka.dead_letters(1)[0]
        wait_until(lambda: eventing.counts["stage-topic"].dead_lettered == 1, "counted")
    assert value == b'{"a":1}'
    assert headers["ce_id"] == "bad"
    assert headers["ce_knativeerrorcode"] == "422"
    assert headers["ce_knativeerrordest"] == receiver.url
    assert base64.b64decode(headers["ce_knativeerrordata"]) == b"no such workload"
    assert headers["ce_reason"] == "invalid data"
    assert kafka.committed(f"group-{kafka.topic}") == {0: 3}


def test_without_a_dead_letter_sink_a_refused_event_is_lost_and_committed(kafka: Kafka) -> None:
    kafka.send("bad")
    kafka.flush()
    how = replace(QUICK, dead_letter_sink=None)
    with (
        event_receiver(lambda _: Answer(400)) as receiver,
        running(kafka, receiver, source(kafka, delivery=how)) as eventing,
    ):
        wait_until(lambda: eventing.counts["stage-topic"].lost == 1, "lost")
    assert kafka.committed(f"group-{kafka.topic}") == {0: 1}


def test_a_record_that_is_no_cloudevent_arrives_wrapped_and_a_structured_one_in_binary_mode(
    kafka: Kafka,
) -> None:
    document = {"specversion": "1.0", "id": "s", "source": "/test", "type": "t", "data": {"a": 1}}
    kafka.send("key", headers={"x-origin": "elsewhere"}, value=b"raw")
    kafka.send(
        "structured",
        headers={"content-type": "application/cloudevents+json"},
        value=json.dumps(document).encode(),
    )
    kafka.send("tombstone", value=None)
    kafka.flush()
    extended = source(kafka, ordering="ordered", extensions={"team": "finops"})
    with event_receiver() as receiver, running(kafka, receiver, extended):
        wrapped, structured, tombstone = receiver.wait_for(3)
    assert wrapped.headers["ce-type"] == "dev.knative.kafka.event"
    assert wrapped.headers["ce-id"] == "partition:0/offset:0"
    assert wrapped.headers["ce-kafkaheaderxorigin"] == "elsewhere"
    assert wrapped.headers["ce-key"] == "key"
    assert wrapped.body == b"raw"
    assert (structured.headers["ce-id"], structured.body) == ("s", b'{"a":1}')
    assert structured.headers["content-type"] == "application/json"
    assert (tombstone.headers["ce-id"], tombstone.body) == ("tombstone", b"")
    assert {request.headers["ce-team"] for request in (wrapped, structured, tombstone)} == {"finops"}


def test_latest_skips_what_was_sent_before_the_group_began(kafka: Kafka) -> None:
    kafka.send("before")
    kafka.flush()
    with (
        event_receiver() as receiver,
        running(kafka, receiver, source(kafka, initial_offset="latest")) as eventing,
    ):
        # The position is looked up after the assignment: send until one arrives.
        wait_until(lambda: _sent_and_arrived(kafka, receiver), "anything new")
        wait_until(lambda: eventing.in_flight == 0, "idle")
        assert "before" not in ids(receiver.requests)


def _sent_and_arrived(kafka: Kafka, receiver: EventReceiver) -> bool:
    kafka.send("after")
    kafka.flush()
    return bool(receiver.requests)


def test_every_event_can_be_delivered_twice_for_fault_tests(kafka: Kafka) -> None:
    for number in range(5):
        kafka.send(str(number))
    kafka.flush()
    with event_receiver() as receiver, running(kafka, receiver, source(kafka), duplicate=True) as eventing:
        wait_until(lambda: eventing.counts["stage-topic"].delivered == 5, "5 delivered")
        assert Counter(ids(receiver.requests)) == dict.fromkeys("01234", 2)


def test_progress_is_told_for_every_attempt(kafka: Kafka) -> None:
    told: list[tuple[str, bytes | None, int, int | None]] = []
    statuses = iter([503, 204])
    kafka.send("1")
    kafka.flush()

    def tell(of: KafkaSource, record: Record, attempt: int, status: int | None) -> None:
        told.append((of.name, record.key, attempt, status))

    with (
        event_receiver(lambda _: Answer(next(statuses))) as receiver,
        running(kafka, receiver, source(kafka), on_delivery=tell),
    ):
        wait_until(lambda: len(told) == 2, "two attempts")
    assert told == [("stage-topic", b"1", 1, 503), ("stage-topic", b"1", 2, 204)]


def test_a_stop_lets_a_request_in_flight_finish_and_gives_up_one_that_waits_for_its_retry(
    kafka: Kafka,
) -> None:
    release = threading.Event()

    def answer(request: Request) -> Answer:
        if request.headers["ce-id"] == "busy":
            release.wait(20)
            return Answer()
        return Answer(503)

    kafka.send("busy", partition=0)
    kafka.send("retried", partition=1)
    kafka.flush()
    slow = replace(QUICK, backoff_delay=60.0)
    with (
        event_receiver(answer) as receiver,
        running(kafka, receiver, source(kafka, delivery=slow)) as eventing,
    ):
        receiver.wait_for(2)
        threading.Timer(0.2, release.set).start()
        before = time.monotonic()
        eventing.stop(10)
        assert time.monotonic() - before < 8
    assert kafka.committed(f"group-{kafka.topic}") == {0: 1}


def test_two_members_of_a_group_share_the_partitions(kafka: Kafka) -> None:
    with event_receiver() as receiver, running(kafka, receiver, source(kafka)) as first:
        with running(kafka, receiver, source(kafka)) as second:
            for number in range(20):
                kafka.send(str(number), partition=number % PARTITIONS)
            kafka.flush()
            receiver.wait_for(20)
            counts = [each.counts["stage-topic"].records for each in (first, second)]
        assert counts == [10, 10]
        kafka.send("left", partition=0)
        kafka.send("alone", partition=1)
        kafka.flush()
        # The mock cluster refuses commits in a rebalance, so some come again; none is left out.
        wait_until(lambda: {"left", "alone"} <= set(ids(receiver.requests)), "all by the one that is left")


def test_a_tick_reaches_the_receiver(kafka: Kafka) -> None:
    ping = PingSource(
        NAMESPACE,
        "scan",
        "7 * * * *",
        "application/json",
        b'{"action":"scan"}',
        Reference("Service", NAMESPACE, "stage"),
    )
    with event_receiver() as receiver:
        eventing = Eventing(
            Manifests((STAGE,), (), (), (ping,), ()),
            bootstrap=kafka.bootstrap,
            addresses={"stage": receiver.url},
        )
        eventing.start()
        try:
            assert eventing.fire("scan")
        finally:
            eventing.stop()
        request = receiver.requests[0]
    assert request.headers["ce-type"] == "dev.knative.sources.ping"
    assert request.body == b'{"action":"scan"}'
